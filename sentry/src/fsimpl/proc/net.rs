//! `/proc/net`: the loopback interface, and the headers of tables whose rows are not shown yet.

use crate::kernel::Kernel;

use super::Shared;

pub(super) fn dev(_k: &Kernel, _s: &Shared) -> Vec<u8> {
    concat!(
        "Inter-|   Receive                                                |  Transmit\n",
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n",
        "    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n",
    )
    .into()
}

pub(super) const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     \n";
pub(super) const TCP6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
pub(super) const UDP: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops            \n";
pub(super) const UDP6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n";
pub(super) const UNIX: &str = "Num       RefCount Protocol Flags    Type St Inode Path\n";
pub(super) const ROUTE: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT                                                       \n";
pub(super) const IF_INET6: &str = "00000000000000000000000000000001 01 80 10 80       lo\n";
pub(super) const ARP: &str =
    "IP address       HW type     Flags       HW address            Mask     Device\n";
