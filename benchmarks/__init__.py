"""What operators pay for, measured on this machine: `make bench`."""
