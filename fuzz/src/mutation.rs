//! Changes to an input that keep most of it readable: bytes changed at random seldom leave JSON behind.

use std::ops::Range;

use fastrand::Rng;

/// What is put where a value was: ends of ranges, other types, and names that users should not have chosen.
const VALUES: &[&str] = &[
    "0",
    "-1",
    "-0",
    "1e308",
    "-1e-9",
    "0.5",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "null",
    "true",
    "false",
    "{}",
    "[]",
    "[{}]",
    "[null]",
    "{\"\":0}",
    "\"\"",
    "\"n1\"",
    "\"$G\"",
    "\"\\n\"",
    "\"a\\\"b\\\\c\\nd\"",
    "\"\\ud800\"",
    "\"\\u0000\\u001f\\r\"",
    "\"\\u202e\\ufeff\"",
    "\"# EOF\\n\"",
    "\"0001-01-01T00:00:00Z\"",
    "\"9999-12-31T23:59:59.999999999Z\"",
    "\"2026-01-01T00:00:00+14:00\"",
    "\"1y2d3h4m5s\"",
    "\"-2562047h47m16.854775808s\"",
    "\"2.9.10\"",
    "\"2.11.2\"",
    "\"STREAM\"",
    "\"CONSUMER\"",
    "\"ok\"",
    "\"unavailable\"",
];

/// Puts a changed `input` of at most `most` bytes into its place.
pub fn mutate(input: &mut Vec<u8>, most: usize, random: &mut Rng) {
    let Some(value) = pick(input, random) else {
        input.extend(VALUES[random.usize(..VALUES.len())].bytes());
        return input.truncate(most);
    };
    match random.u8(..8) {
        0 => drop(input.drain(value)),
        1 => {
            let again = input[value.clone()].to_vec();
            let between =
                if input[value.start] == b'"' || again.contains(&b':') { "," } else { "" };
            input.splice(value.end..value.end, between.bytes().chain(again));
        }
        2 => {
            let other = pick(input, random).unwrap_or(value.clone());
            let other = input[other].to_vec();
            input.splice(value, other);
        }
        3 => {
            let at = random.usize(..input.len());
            input[at] = random.u8(..);
        }
        4 => input.truncate(random.usize(..input.len())),
        _ => drop(input.splice(value, VALUES[random.usize(..VALUES.len())].bytes())),
    }
    input.truncate(most);
}

/// As libFuzzer wants it: `input` has room for `most` bytes and holds `size`; the new size comes back. Half of the changes
/// are left to `other`, which knows what the comparisons in the program look for.
pub fn mutate_in_place(
    input: &mut [u8],
    size: usize,
    most: usize,
    seed: u32,
    other: fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    let mut random = Rng::with_seed(seed.into());
    if random.bool() {
        return other(input, size, most);
    }
    let mut text = input[..size].to_vec();
    for _ in 0..random.u8(1..4) {
        mutate(&mut text, most.min(input.len()), &mut random);
    }
    input[..text.len()].copy_from_slice(&text);
    text.len()
}

/// A string, number, word, object or list at or behind a random place.
fn pick(input: &[u8], random: &mut Rng) -> Option<Range<usize>> {
    let from = random.usize(..input.len().max(1));
    let begins = |byte: &u8| byte.is_ascii_alphanumeric() || b"\"{[-".contains(byte);
    let start = from + input.get(from..)?.iter().position(begins)?;
    let rest = &input[start..];
    let length = match rest[0] {
        b'"' => 1 + rest[1..].iter().position(|byte| *byte == b'"').map_or(0, |end| end + 1),
        b'{' | b'[' => bracketed(rest),
        _ => {
            let goes_on = |byte: &u8| byte.is_ascii_alphanumeric() || b"-+._".contains(byte);
            rest.iter().position(|byte| !goes_on(byte)).unwrap_or(rest.len()).max(1)
        }
    };
    Some(start..start + length)
}

/// How long the object or list is that `text` begins with; only its bracket when it does not end.
fn bracketed(text: &[u8]) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 1 => return at + 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
    }
    1
}
