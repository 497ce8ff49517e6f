//! What a scraper got: whether it is whole, and what of it can be judged.

use std::io::{BufRead as _, BufReader};

use flate2::read::GzDecoder;

/// The series that an error adds for good: it is not counted, so that one bad answer is not all that follow.
const FROM_THE_FIRST_ERROR_ON: &str = "nats_exporter_endpoint_errors_total";

/// An exposition that was read to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// How many samples.
    pub(super) series: usize,
    /// How many servers answered.
    pub(super) up: usize,
    /// How many endpoints gave what was asked for.
    pub(super) endpoints: usize,
    /// How many servers and endpoints did not.
    pub(super) failed: usize,
}

/// Reads a compressed exposition in OpenMetrics, of which nothing may be missing or damaged.
pub(super) fn read(gzip: &[u8]) -> Result<Content, String> {
    let mut reader = BufReader::with_capacity(64 << 10, GzDecoder::new(gzip));
    let mut content = Content::default();
    let mut line = String::new();
    loop {
        line.clear();
        let length = reader.read_line(&mut line).map_err(|error| format!("damaged: {error}"))?;
        let Some(text) = line.strip_suffix('\n') else {
            return Err(format!("ends after {length} bytes of a line, without # EOF"));
        };
        if text == "# EOF" {
            break;
        }
        if !text.starts_with('#') {
            content.take(text).ok_or_else(|| format!("not a sample: {text}"))?;
        }
    }
    line.clear();
    match reader.read_line(&mut line) {
        Ok(0) => Ok(content),
        Ok(_) => Err(format!("# EOF is followed by {line}")),
        Err(error) => Err(format!("damaged: {error}")),
    }
}

impl Content {
    fn take(&mut self, sample: &str) -> Option<()> {
        let (series, value) = sample.rsplit_once(' ')?;
        let value: f64 = value.parse().ok()?;
        let name = series.split('{').next()?;
        if name == FROM_THE_FIRST_ERROR_ON {
            return Some(());
        }
        self.series += 1;
        let count = match name {
            "nats_up" => &mut self.up,
            "nats_exporter_endpoint_up" => &mut self.endpoints,
            _ => return Some(()),
        };
        if value > 0.5 {
            *count += 1;
        } else {
            self.failed += 1;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    const GOOD: &str = "# TYPE nats_up gauge\nnats_up{server=\"a b\"} 1\n\
        nats_exporter_endpoint_up{server=\"a b\",endpoint=\"varz\"} 1\n\
        nats_exporter_endpoint_up{server=\"a b\",endpoint=\"jsz\"} 0\nx{} 1.5e3\n\
        nats_exporter_endpoint_errors_total{reason=\"timeout\"} 2\n# EOF\n";

    #[test]
    fn samples_and_failures_are_counted() {
        let content = read(&packed(GOOD)).unwrap();
        assert_eq!(content, Content { series: 4, up: 1, endpoints: 1, failed: 1 });
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let whole = packed(GOOD);
        assert!(read(&whole[..whole.len() - 9]).unwrap_err().contains("damaged"));
        let mut flipped = whole.clone();
        let checksum = flipped.len() - 6;
        flipped[checksum] ^= 1;
        assert!(read(&flipped).unwrap_err().contains("damaged"));
        for text in ["x{} 1\n", "x{} 1", "x{} one\n# EOF\n", "x{}\n# EOF\n", "# EOF\nx{} 1\n", ""] {
            assert!(read(&packed(text)).is_err(), "{text:?}");
        }
    }
}
