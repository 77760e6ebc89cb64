//! Four numbers, on which one instruction works where the target has such.

#[cfg(not(target_arch = "wasm32"))]
mod each {
    pub(in crate::rank) type Row = [u32; 4];

    pub(in crate::rank) const fn of(numbers: [u32; 4]) -> Row {
        numbers
    }

    pub(in crate::rank) const fn numbers(row: Row) -> [u32; 4] {
        row
    }

    pub(in crate::rank) fn least(one: Row, other: Row) -> Row {
        std::array::from_fn(|lane| one[lane].min(other[lane]))
    }

    pub(in crate::rank) fn most(one: Row, other: Row) -> Row {
        std::array::from_fn(|lane| one[lane].max(other[lane]))
    }

    /// Those of these places, of eight: four of one and four of another.
    pub(in crate::rank) fn picked<const A: usize, const B: usize, const C: usize, const D: usize>(
        one: Row,
        other: Row,
    ) -> Row {
        [A, B, C, D].map(|place| if place < 4 { one[place] } else { other[place - 4] })
    }
}

#[cfg(target_arch = "wasm32")]
mod at_once {
    use std::arch::wasm32::{i32x4_shuffle, u32x4, u32x4_extract_lane, u32x4_max, u32x4_min, v128};

    pub(in crate::rank) type Row = v128;

    #[target_feature(enable = "simd128")]
    pub(in crate::rank) const fn of([a, b, c, d]: [u32; 4]) -> Row {
        u32x4(a, b, c, d)
    }

    #[target_feature(enable = "simd128")]
    pub(in crate::rank) fn numbers(row: Row) -> [u32; 4] {
        [
            u32x4_extract_lane::<0>(row),
            u32x4_extract_lane::<1>(row),
            u32x4_extract_lane::<2>(row),
            u32x4_extract_lane::<3>(row),
        ]
    }

    #[target_feature(enable = "simd128")]
    pub(in crate::rank) fn least(one: Row, other: Row) -> Row {
        u32x4_min(one, other)
    }

    #[target_feature(enable = "simd128")]
    pub(in crate::rank) fn most(one: Row, other: Row) -> Row {
        u32x4_max(one, other)
    }

    #[target_feature(enable = "simd128")]
    pub(in crate::rank) fn picked<const A: usize, const B: usize, const C: usize, const D: usize>(
        one: Row,
        other: Row,
    ) -> Row {
        i32x4_shuffle::<A, B, C, D>(one, other)
    }
}

#[cfg(target_arch = "wasm32")]
pub(in crate::rank) use at_once::*;
#[cfg(not(target_arch = "wasm32"))]
pub(in crate::rank) use each::*;
