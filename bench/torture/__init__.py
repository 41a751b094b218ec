"""What a server must survive: hostile peers, full disks, clocks that jump, signals under load, hours of mixed calls."""
