// Package zfs runs the zfs and zpool commands.
package zfs
