//! Every differential case, once: `with_cases!(m)` hands the whole list to macro `m` as
//! `family in module { case case … }`, for the guests' dispatcher and for the tests. A new case is a word here and a
//! function in `guests/FAMILY.rs`.

/// See the module.
#[macro_export]
macro_rules! with_cases {
    ($m:ident) => {
        $m! {
            files in files {
                open_flags excl trunc append seeks seek_data pread_pwrite vectors truncates renames rename_open links
                symlinks symlink_loops unlink_open directories dotdot_root path_limits chdirs at_calls
            }
            files_more in files_more {
                permissions umasks accesses chmods times listing stats fcntls dups fallocates sendfiles flocks
                record_locks special_files owner_through_descriptor proc_self shm_tmpfs big_files file_limits xattrs
            }
            inotify in inotify {
                masks_and_errors of_files of_names open_and_gone once_and_again reading limits two_processes
            }
            calls in calls {
                openat2s statxs read_write_flags allocations temporary_files renames_with_flags ranges_of_descriptors
                fcntl_in_full refused directory_positions deadlocks
            }
            calls_more in calls_more {
                times_by_rule attributes accesses_and_syncs
            }
            mounts in mounts {
                tmpfs binds moves_and_kinds roots old_questions
            }
            splices in splices {
                errors amounts waits
            }
            memory in memory {
                map_private map_shared map_shared_anon munmap_split protect remap advise breaks fixed map_errors
                past_the_end maps stack address_limit fork_copies
            }
            memory_more in memory_more {
                map_order remap_more advice_table guards residency grows_down rearranged limited synced later_writer placed many_mappings parallel
            }
            memory_locks in memory_locks {
                locks lock_limits memory_files sealing barriers other_process keys_and_secrets accounts
            }
            signals in signals {
                actions masks nesting interrupts restarts nodefer resethand suspend timedwait
            }
            signals_more in signals_more {
                altstack faults fault_masks sigchld sigpipe kills defaults stop_and_continue float_state frames
                exec_keeps signal_fd
            }
            processes in processes {
                forks many_forks vforks execs exec_in_place exec_errors scripts too_big waits orphans groups prctls pipelines
            }
            processes_more in processes_more {
                clone_forms exec_forms wait_forms
            }
            process_facts in process_facts {
                pidfds families prctl_forms set_ids personalities
            }
            resources in resources {
                scheduling scheduling_attributes affinities priorities limit_calls limit_effects queued_signals
                core_dumps
            }
            clocks in clocks {
                every_clock processor_time timers overruns sleeps
            }
            interruptions in interruptions {
                with_restart without_restart stops
            }
            async_io in async_io {
                owners pipes sockets_and_terminals in_handlers
            }
            signals_deep in signals_deep {
                fault_codes wide_registers queues stacks flags signal_descriptors
            }
            proc_files in proc_files {
                own others memory globals
            }
            threads in threads {
                joins locks locals many exits execs signals shared_descriptors futexes
            }
            time in time {
                sleeps clocks interval_timers timer_fd posix_timers
            }
            events in events {
                pipes pipe_blocking polls selects epolls event_fds socket_pairs pass_descriptors
            }
            corners in corners {
                who_is_meant unshares frames_that_do_not_fit odds
            }
            creds in creds {
                ids capabilities limits names random unknown_calls
            }
            exec_creds in exec_creds {
                set_ids root_and_bounds file_capabilities
            }
            seccomp in seccomp {
                questions mistakes strict errnos arguments traps kills chains inherited shortcuts all_threads
            }
            terminals in terminals {
                names mode_calls editing conversions long_lines counts_and_times packets flow readiness random_keys
            }
            terminal_jobs in terminal_jobs {
                acquiring keyboard_signals window_sizes background orphans hang_ups sharing
            }
            pointers in pointers {
                paths buffers edges
            }
            tracing in tracing {
                calls changed_calls signals memory steps events seizing
            }
            ipc in ipc {
                segments segment_mappings segment_errors semaphores semaphore_waits messages posix_queues
            }
            programs in programs {
                profiled full_backlog fleeing
            }
            futexes in futexes {
                pi_words pi_waiters pi_limits pi_owner_dies pi_mutexes requeues robust_killed robust_exec waitv
            }
            sweep in sweep {
                data names attributes memory processes identity signals time scheduling readiness sockets ipc
                system numbers
            }
        }
    };
}
