//! Indented JSON as the servers write it (Go's `json.MarshalIndent` with two spaces), without a tree.

const SPACES: &[u8] = &[b' '; 64];
const NANOS: u64 = 1_000_000_000;

/// Writes one object; what is open is closed by [`Json::end`].
#[derive(Debug)]
pub(super) struct Json {
    out: Vec<u8>,
    /// The brackets to come, outermost first.
    open: Vec<u8>,
    /// Is nothing in the innermost one yet?
    fresh: bool,
    /// The day written last, and its date: nearly all times are of a few days.
    day: (u64, [u8; 11]),
}

impl Json {
    /// Begins the outermost object.
    pub(super) fn new(capacity: usize) -> Self {
        let mut json = Self {
            out: Vec::with_capacity(capacity),
            open: Vec::new(),
            fresh: true,
            day: (0, *b"1970-01-01T"),
        };
        json.begin(b'{', b'}');
        json
    }

    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// Gives away what is written so far.
    pub(super) fn take(&mut self, capacity: usize) -> Vec<u8> {
        std::mem::replace(&mut self.out, Vec::with_capacity(capacity))
    }

    /// Ends the outermost object.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.end();
        self.out
    }

    pub(super) fn object(&mut self, key: &str) {
        self.key(key);
        self.begin(b'{', b'}');
    }

    pub(super) fn list(&mut self, key: &str) {
        self.key(key);
        self.begin(b'[', b']');
    }

    /// An object in a list.
    pub(super) fn item(&mut self) {
        self.line();
        self.begin(b'{', b'}');
    }

    pub(super) fn text_item(&mut self, value: &str) {
        self.line();
        self.string(value);
    }

    pub(super) fn end(&mut self) {
        let bracket = self.open.pop().unwrap_or(b'}');
        if !self.fresh {
            self.indent();
        }
        self.out.push(bracket);
        self.fresh = false;
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.string(value);
    }

    pub(super) fn number(&mut self, key: &str, value: impl itoa::Integer) {
        self.key(key);
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    pub(super) fn flag(&mut self, key: &str, value: bool) {
        self.key(key);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// A time in nanoseconds since 1970; 0 is Go's zero time, which stands for "never".
    pub(super) fn time(&mut self, key: &str, time: u64) {
        self.key(key);
        if time == 0 {
            self.out.extend_from_slice(br#""0001-01-01T00:00:00Z""#);
            return;
        }
        let (seconds, nanos) = (time / NANOS, time % NANOS);
        let day = seconds / 86_400;
        if self.day.0 != day {
            self.day = (day, date(day));
        }
        self.out.push(b'"');
        self.out.extend_from_slice(&self.day.1);
        let second = seconds % 86_400;
        let mut clock = *b"00:00:00";
        digits(&mut clock[..2], second / 3600);
        digits(&mut clock[3..5], second / 60 % 60);
        digits(&mut clock[6..], second % 60);
        self.out.extend_from_slice(&clock);
        if nanos > 0 {
            let mut fraction = *b".000000000";
            digits(&mut fraction[1..], nanos);
            // Go leaves out zeros at the end.
            let zeros = fraction.iter().rev().take_while(|&&digit| digit == b'0').count();
            self.out.extend_from_slice(&fraction[..fraction.len() - zeros]);
        }
        self.out.extend_from_slice(b"Z\"");
    }

    fn begin(&mut self, bracket: u8, end: u8) {
        self.out.push(bracket);
        self.open.push(end);
        self.fresh = true;
    }

    fn key(&mut self, key: &str) {
        self.line();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\": ");
    }

    fn line(&mut self) {
        if !self.fresh {
            self.out.push(b',');
        }
        self.fresh = false;
        self.indent();
    }

    fn indent(&mut self) {
        self.out.push(b'\n');
        let width = (2 * self.open.len()).min(SPACES.len());
        self.out.extend_from_slice(&SPACES[..width]);
    }

    /// Names here have no control characters; what Go escapes for HTML they may have.
    fn string(&mut self, value: &str) {
        self.out.push(b'"');
        if value.bytes().any(|byte| matches!(byte, b'<' | b'>' | b'&' | b'"' | b'\\')) {
            for byte in value.bytes() {
                match byte {
                    b'<' => self.out.extend_from_slice(b"\\u003c"),
                    b'>' => self.out.extend_from_slice(b"\\u003e"),
                    b'&' => self.out.extend_from_slice(b"\\u0026"),
                    b'"' | b'\\' => self.out.extend_from_slice(&[b'\\', byte]),
                    _ => self.out.push(byte),
                }
            }
        } else {
            self.out.extend_from_slice(value.as_bytes());
        }
        self.out.push(b'"');
    }
}

/// Writes the number into all of the slice, with leading zeros.
fn digits(out: &mut [u8], mut number: u64) {
    for place in out.iter_mut().rev() {
        *place = b"0123456789"[usize::try_from(number % 10).unwrap_or_default()];
        number /= 10;
    }
}

/// The date of a day since 1970 in the Gregorian calendar, counted in eras of 400 years from a March.
fn date(day: u64) -> [u8; 11] {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let mut date = *b"0000-00-00T";
    digits(&mut date[..4], year_of_era + era * 400 + u64::from(month <= 2));
    digits(&mut date[5..7], month);
    digits(&mut date[8..10], of_year - (153 * month_from_march + 2) / 5 + 1);
    date
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(value: u64) -> String {
        let mut json = Json::new(0);
        json.time("t", value);
        let text = String::from_utf8(json.finish()).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["t"].as_str().unwrap().to_owned()
    }

    #[test]
    fn times_as_go_writes_them() {
        assert_eq!(time(0), "0001-01-01T00:00:00Z");
        assert_eq!(time(1), "1970-01-01T00:00:00.000000001Z");
        assert_eq!(time(951_782_400 * NANOS), "2000-02-29T00:00:00Z");
        assert_eq!(time(1_795_421_357_674_841_310), "2026-11-23T08:09:17.67484131Z");
        assert_eq!(time(1_798_761_599_999_999_999), "2026-12-31T23:59:59.999999999Z");
    }

    #[test]
    fn empty_brackets_and_escapes() {
        let mut json = Json::new(0);
        json.object("a");
        json.end();
        json.list("b");
        json.text_item("x.>");
        json.end();
        let text = String::from_utf8(json.finish()).unwrap();
        assert_eq!(text, "{\n  \"a\": {},\n  \"b\": [\n    \"x.\\u003e\"\n  ]\n}");
    }
}
