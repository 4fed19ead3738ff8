// Package bench measures Drover on real OpenZFS beside the tools that people use: on nodes with kernels of their own, side by
// side in one run. What it prints is what docs/openzfs-figures.md shows; with DROVER_FIGURES=FILE it writes that page itself.
//
//	make bench-openzfs
//
// DROVER_BENCH_MIB, _ROUNDS, _VOLUMES, _DATASETS and _MOVES make it smaller, to try it out.
//
// The nodes' system calls are slow and their network does some 50 MB/s: read ratios, not absolute figures.
package bench
