//! Sorts whole numbers by comparing four pairs at once, where the target's instructions can. Which are compared does not depend on the
//! numbers, so there is no branch that the processor cannot foresee.
//!
//! The numbers stand in rows of four, and when all is done go down the first column, then down the second. Columns are sorted beside each
//! other by a network; then the first is merged with the second, the third with the fourth, and the halves with each other. Eight rows
//! are a block, which fits into registers, and what a loop does it does to whole blocks: each turn of a loop costs as much as many rows.
#![expect(clippy::many_single_char_names, reason = "eight rows, or four columns")]
#![expect(
    clippy::redundant_closure,
    reason = "what asks for instructions of the target is no function to hand on there"
)]

mod row;

use row::{Row, least, most, numbers, of, picked};

const ROWS: usize = 8;

type Block = [Row; ROWS];

/// Sorts these numbers.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
#[inline(never)]
pub(super) fn sort(keys: &mut Vec<u32>) {
    let used = keys.len();
    let count = used.div_ceil(4 * ROWS).next_power_of_two();
    // What is missing is the greatest there is, and stays behind all others.
    keys.resize(4 * ROWS * count, u32::MAX);
    let mut blocks: Vec<Block> =
        keys.as_chunks::<4>().0.as_chunks().0.iter().map(|rows: &[_; ROWS]| rows.map(|row| of(row))).collect();
    sort_columns(&mut blocks);
    merge_neighbours(&mut blocks);
    merge_halves(&mut blocks);
    put_back(&blocks, keys);
    keys.truncate(used);
}

/// Each column after the one before it.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn put_back(blocks: &[Block], keys: &mut [u32]) {
    let (half, other) = keys.split_at_mut(keys.len() / 2);
    let ((a, b), (c, d)) = (half.split_at_mut(half.len() / 2), other.split_at_mut(other.len() / 2));
    let [a, b, c, d] = [a, b, c, d].map(|column| column.as_chunks_mut::<4>().0);
    for ((((rows, a), b), c), d) in blocks.as_flattened().as_chunks::<4>().0.iter().zip(a).zip(b).zip(c).zip(d) {
        let (ab, cd) = (picked::<0, 4, 1, 5>(rows[0], rows[1]), picked::<2, 6, 3, 7>(rows[0], rows[1]));
        let (more_ab, more_cd) = (picked::<0, 4, 1, 5>(rows[2], rows[3]), picked::<2, 6, 3, 7>(rows[2], rows[3]));
        *a = numbers(picked::<0, 1, 4, 5>(ab, more_ab));
        *b = numbers(picked::<2, 3, 6, 7>(ab, more_ab));
        *c = numbers(picked::<0, 1, 4, 5>(cd, more_cd));
        *d = numbers(picked::<2, 3, 6, 7>(cd, more_cd));
    }
}

#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn sort_columns(blocks: &mut [Block]) {
    for block in &mut *blocks {
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *block;
        in_order(&mut a, &mut c);
        in_order(&mut b, &mut d);
        in_order(&mut e, &mut g);
        in_order(&mut f, &mut h);
        in_order(&mut a, &mut e);
        in_order(&mut b, &mut f);
        in_order(&mut c, &mut g);
        in_order(&mut d, &mut h);
        in_order(&mut a, &mut b);
        in_order(&mut c, &mut d);
        in_order(&mut e, &mut f);
        in_order(&mut g, &mut h);
        in_order(&mut c, &mut e);
        in_order(&mut d, &mut f);
        in_order(&mut b, &mut e);
        in_order(&mut d, &mut g);
        in_order(&mut b, &mut c);
        in_order(&mut d, &mut e);
        in_order(&mut f, &mut g);
        *block = [a, b, c, d, e, f, g, h];
    }
    let mut merged = 2;
    while merged <= blocks.len() {
        for both in blocks.chunks_exact_mut(merged) {
            // The second half upside down: each column rises, then falls.
            for_mirrored(both, |one, other| in_order(one, other));
        }
        settle(blocks, merged / 4);
        merged *= 2;
    }
}

/// Sorts columns of which each rises and then falls, or is two such ones and so on: blocks that stand `apart`, then half as far.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn settle(blocks: &mut [Block], mut apart: usize) {
    while apart > 0 {
        for both in blocks.chunks_exact_mut(2 * apart) {
            let (first, second) = both.split_at_mut(apart);
            for (one, other) in first.iter_mut().zip(second) {
                for (one, other) in one.iter_mut().zip(other) {
                    in_order(one, other);
                }
            }
        }
        apart /= 2;
    }
    for block in blocks {
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *block;
        in_order(&mut a, &mut e);
        in_order(&mut b, &mut f);
        in_order(&mut c, &mut g);
        in_order(&mut d, &mut h);
        in_order(&mut a, &mut c);
        in_order(&mut b, &mut d);
        in_order(&mut e, &mut g);
        in_order(&mut f, &mut h);
        in_order(&mut a, &mut b);
        in_order(&mut c, &mut d);
        in_order(&mut e, &mut f);
        in_order(&mut g, &mut h);
        *block = [a, b, c, d, e, f, g, h];
    }
}

/// Merges the first column with the second and the third with the fourth, one of both upside down.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn merge_neighbours(blocks: &mut [Block]) {
    for_mirrored_rows(blocks, |one, other| {
        let turned = picked::<1, 0, 3, 2>(*other, *other);
        let (low, high) = (least(*one, turned), most(*one, turned));
        *one = picked::<0, 5, 2, 7>(low, high);
        *other = picked::<1, 4, 3, 6>(low, high);
    });
    settle(blocks, blocks.len() / 2);
}

/// Merges the first two columns, which are sorted, with the others.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn merge_halves(blocks: &mut [Block]) {
    for_mirrored_rows(blocks, |one, other| {
        let turned = picked::<3, 2, 1, 0>(*other, *other);
        let (low, high) = (least(*one, turned), most(*one, turned));
        *one = picked::<0, 1, 6, 7>(low, high);
        *other = picked::<3, 2, 5, 4>(low, high);
    });
    for block in &mut *blocks {
        for row in block {
            let other = picked::<1, 0, 3, 2>(*row, *row);
            *row = picked::<0, 5, 2, 7>(least(*row, other), most(*row, other));
        }
    }
    settle(blocks, blocks.len() / 2);
}

/// Does this to each row of the first half and the one as far from the end.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn for_mirrored(blocks: &mut [Block], done: impl Fn(&mut Row, &mut Row)) {
    let (first, second) = blocks.split_at_mut(blocks.len() / 2);
    for (one, other) in first.iter_mut().zip(second.iter_mut().rev()) {
        for (one, other) in one.iter_mut().zip(other.iter_mut().rev()) {
            done(one, other);
        }
    }
}

/// The same, where a single block may be both halves.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn for_mirrored_rows(blocks: &mut [Block], done: impl Fn(&mut Row, &mut Row)) {
    if let [block] = blocks {
        let (first, second) = block.split_at_mut(ROWS / 2);
        for (one, other) in first.iter_mut().zip(second.iter_mut().rev()) {
            done(one, other);
        }
    } else {
        for_mirrored(blocks, done);
    }
}

#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn in_order(one: &mut Row, other: &mut Row) {
    (*one, *other) = (least(*one, *other), most(*one, *other));
}
