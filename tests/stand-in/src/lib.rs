//! A stand-in for the CUDA driver and its libraries on the CPU.
