//! A cluster in one process, over direct calls: disks are real, the machine and the wire are not.

mod cluster;
mod forming;
mod groups;
mod logs;
mod machines;
mod simulated;
mod wires;
