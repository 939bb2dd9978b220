"""One file a kernel: its rate for each instruction set, beside what the machine's memory and disk allow."""
