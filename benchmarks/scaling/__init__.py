"""How cost grows: by rows, partitions, groups, memory and threads, each with its fitted slope."""
