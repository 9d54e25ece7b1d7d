//! The simulator.
mod memory;
