//! The seeded world: virtual clock, network, disks, faults, workloads, checkers.
