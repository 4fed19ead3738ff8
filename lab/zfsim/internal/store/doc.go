// Package store keeps the contents of snapshots for the stand-in: blocks in append-only packs, and trees of entries
// that refer to them.
//
// It is for plain directories ("heads") that change under it without telling: Scan finds what changed since the last
// tree by comparing stat data, reads only that, and stores only the blocks that differ. It is not a backup format; it
// knows nothing of datasets, properties or locks.
//
// Invariants:
//   - a block is written once and never changed; the pack that holds it is named by the transaction group (txg) of its
//     birth, so "born after X" is a comparison of numbers, as in OpenZFS;
//   - a tree is immutable; a new tree reuses whatever did not change of the tree before it, and nothing else, so the
//     trees that hold a block are neighbours in a dataset's history, and space can be computed from histograms alone;
//   - whoever reads trees holds the machine's shared collection lock; Collect runs only when nobody does.
package store
