//! Streams, consumers and messages of many kinds, to have something to look at.
