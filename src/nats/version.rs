//! The version of a server, as far as behaviour depends on it.

use std::str::FromStr;

/// Major, minor and patch number. A pre-release counts as the release it precedes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16, pub u16, pub u16);

impl FromStr for Version {
    type Err = NotAVersion;

    /// Reads `2.10.26`, `2.15.0-RC.1` or `v2.11.1`.
    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let mut numbers = text
            .trim_start_matches('v')
            .split(['-', '+'])
            .next()
            .unwrap_or_default()
            .splitn(3, '.')
            .map(|number| number.parse().map_err(|_| NotAVersion));
        let mut next = || numbers.next().unwrap_or(Err(NotAVersion));
        Ok(Self(next()?, next()?, next()?))
    }
}

/// The text is not a version number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a version number")]
pub struct NotAVersion;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_releases_and_pre_releases() {
        assert_eq!("2.10.26".parse(), Ok(Version(2, 10, 26)));
        assert_eq!("2.15.0-RC.1".parse(), Ok(Version(2, 15, 0)));
        assert_eq!("v2.11.1+local".parse(), Ok(Version(2, 11, 1)));
        for text in ["", "2", "2.10", "dev", "2.10.x"] {
            assert_eq!(text.parse::<Version>(), Err(NotAVersion), "{text}");
        }
        assert!(Version(2, 9, 25) < Version(2, 10, 0));
    }
}
