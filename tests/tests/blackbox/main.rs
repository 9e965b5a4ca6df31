//! The black-box tests, a file a chapter. One program: it is built once, and goes
//! into the test VM as one file.

mod ch01_fifty_lines;
mod ch02_cgroups;
mod ch02_ipc;
mod ch02_mount;
mod ch02_net;
mod ch02_net_by_hand;
mod ch02_pid;
mod ch02_setns;
mod ch02_union;
mod ch02_user;
mod ch02_uts;
mod ch03_limits;
mod ch03_run;
mod ch04_commit;
mod ch04_image;
mod ch04_overlay;
mod ch04_pivot_root;
mod ch04_tar;
mod ch04_tar_archives;
mod ch04_volume;
mod ch05_attach;
mod ch05_detach;
mod ch05_env;
mod ch05_exec;
mod ch05_init;
mod ch05_logs;
mod ch05_ps;
mod ch05_rm;
mod ch05_stop;
mod containers;
mod doctor;
mod engine;
mod host_binary;
mod lab;
mod terminal_filter;
