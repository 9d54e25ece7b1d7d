//! Haversack.
