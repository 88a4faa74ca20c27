//! Appends short pieces in constant sizes, which compile to moves in place.
//!
//! A piece of any size is a call of `memcpy`, and that of musl, which the package is linked with, costs more than copying some bytes
//! does. A token and its two log lines are made of about a hundred such pieces; docs/decisions/0014 has what this took off.

use std::io;

/// From here on the copying itself is what takes the time.
const LONG: usize = 128;

/// Appends bytes.
pub fn append(to: &mut Vec<u8>, mut bytes: &[u8]) {
    to.reserve(bytes.len());
    if bytes.len() >= LONG {
        return to.extend_from_slice(bytes);
    }
    while let Some((piece, rest)) = bytes.split_first_chunk::<16>() {
        to.extend_from_slice(piece);
        bytes = rest;
    }
    if let Some((piece, rest)) = bytes.split_first_chunk::<8>() {
        to.extend_from_slice(piece);
        bytes = rest;
    }
    if let Some((piece, rest)) = bytes.split_first_chunk::<4>() {
        to.extend_from_slice(piece);
        bytes = rest;
    }
    for byte in bytes {
        to.push(*byte);
    }
}

/// Where JSON is written to.
pub struct Appended(pub Vec<u8>);

impl io::Write for Appended {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        append(&mut self.0, bytes);
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        append(&mut self.0, bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_every_length_are_appended_whole() {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut appended = Vec::new();
        let mut expected = Vec::new();
        for length in 0..=256 {
            append(&mut appended, &bytes[..length]);
            expected.extend_from_slice(&bytes[..length]);
        }
        assert_eq!(appended, expected);
    }
}
