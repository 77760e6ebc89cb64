use super::*;
use crate::format::ProviderFormat;
use crate::format::bedrock::Bedrock;

const STREAM: &[u8] = include_bytes!("../../../../tests/fixtures/dialect/streams/bedrock/tools.bin");

fn read(pieces: &[&[u8]]) -> Result<(Vec<Chunk>, bool), AttemptFault> {
    let (mut decoder, mut chunks) = (Bedrock.stream(), Vec::new());
    for piece in pieces {
        decoder.push(piece, &mut chunks)?;
    }
    decoder.finish(&mut chunks)?;
    Ok((chunks, decoder.is_complete()))
}

#[test]
fn messages_are_the_same_however_they_are_cut() {
    let whole = read(&[STREAM]).unwrap();
    assert!(whole.1 && whole.0.len() > 8, "{whole:?}");
    for cut in (0..STREAM.len()).step_by(7) {
        assert_eq!(read(&[&STREAM[..cut], &STREAM[cut..]]).unwrap(), whole, "cut at {cut}");
    }
    let bytes: Vec<&[u8]> = STREAM.chunks(1).collect();
    assert_eq!(read(&bytes).unwrap(), whole);
}

#[test]
fn no_changed_byte_is_believed() {
    for at in (0..STREAM.len()).step_by(3) {
        let mut changed = STREAM.to_vec();
        changed[at] ^= 0x20;
        let fault = read(&[&changed]).expect_err("a changed byte was believed");
        assert_eq!(fault.kind, FaultKind::BrokenStream, "byte {at}: {fault}");
    }
}

#[test]
fn a_stream_that_ends_within_a_message_is_broken() {
    let fault = read(&[&STREAM[..STREAM.len() - 5]]).unwrap_err();
    assert!(fault.message.contains("ended within a message"), "{fault}");
}

#[test]
fn impossible_lengths_are_refused_before_they_are_awaited() {
    for total in [0_u32, 15, u32::MAX] {
        let mut bytes = total.to_be_bytes().to_vec();
        bytes.extend(0_u32.to_be_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        assert!(read(&[&bytes]).unwrap_err().message.contains("impossible length"));
    }
    // Headers longer than their message, under checksums that are right.
    let mut bytes = 16_u32.to_be_bytes().to_vec();
    bytes.extend(9_u32.to_be_bytes());
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    assert!(read(&[&bytes]).unwrap_err().message.contains("longer than the message"));
}
