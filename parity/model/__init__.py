"""Models as frozen data: names, axes and sizes, without any framework."""
