//! A small PNG picture, made of nothing: content for attachments.
//!
//! Source: PNG specification (W3C), sections 5 and 10.

use std::io::Write as _;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

const SIDE: u32 = 48;

/// A picture of smoke over a slope; the hue is the only thing that differs.
pub(super) fn png(hue: u8) -> Vec<u8> {
    let mut rows = Vec::new();
    for y in 0..SIDE {
        rows.push(0); // no row filter
        for x in 0..SIDE {
            let slope = y * 2 > SIDE + x / 2;
            let pixel = if slope {
                [60, 40 + hue / 4, 20]
            } else {
                [200, 200_u8.saturating_sub((SIDE - y) as u8), hue]
            };
            rows.extend_from_slice(&pixel);
        }
    }
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
    let packed = packed
        .write_all(&rows)
        .and_then(|()| packed.finish())
        .expect("writing to memory does not fail");
    let mut header = Vec::new();
    header.extend_from_slice(&SIDE.to_be_bytes());
    header.extend_from_slice(&SIDE.to_be_bytes());
    header.extend_from_slice(&[8, 2, 0, 0, 0]); // eight bits, true colour
    let mut file = vec![0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n'];
    chunk(&mut file, *b"IHDR", &header);
    chunk(&mut file, *b"IDAT", &packed);
    chunk(&mut file, *b"IEND", &[]);
    file
}

fn chunk(file: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    file.extend_from_slice(&(data.len() as u32).to_be_bytes());
    file.extend_from_slice(&kind);
    file.extend_from_slice(data);
    let mut crc = Crc::new();
    crc.update(&kind);
    crc.update(data);
    file.extend_from_slice(&crc.sum().to_be_bytes());
}
