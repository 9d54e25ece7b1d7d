#![doc = include_str!("../README.md")]

pub mod error;
pub mod face;
pub mod remote;
pub mod wire;

pub use error::{Error, Result};
