package zfsim

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"

	"github.com/drover-project/drover/lab/zfsim/internal/store"
)

// EnvDir is the environment variable that names the machine's folder; EnvVersion selects the version to act like.
const (
	EnvDir     = "DROVER_LAB_ZFS"
	EnvVersion = "DROVER_LAB_ZFS_VERSION"
)

// machine is the folder with the state of one node:
//
//	pools/P.json   state of pool P        pools/P.lock   held while it changes
//	gc.lock        shared: trees are read; exclusive: blocks are freed
//	packs/P/TXG    blocks                 heads/P/ID     the directory of a dataset
//	recv/P/ID/     a receive              scans/P/ID     what a head held when last looked at
//	sends/P/       snapshots being sent   faults.json    see Faults
type machine struct {
	dir    string
	old    bool // act like 2.1
	faults *faulter
	gc     *os.File
}

func openMachine(argv []string) (*machine, error) {
	dir := os.Getenv(EnvDir)
	if dir == "" {
		return nil, errors.New("this is Drover's stand-in for ZFS: set " + EnvDir + " to the folder of the machine it shall act for")
	}
	if err := os.MkdirAll(filepath.Join(dir, "pools"), 0o755); err != nil {
		return nil, err
	}
	dir, err := filepath.EvalSymlinks(dir) // the kernel tells open files by their real paths
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	m := &machine{dir: dir, old: os.Getenv(EnvVersion) == "2.1"}
	if m.faults, err = loadFaults(dir, argv); err != nil {
		return nil, err
	}
	m.gc, err = lockFile(filepath.Join(dir, "gc.lock"), syscall.LOCK_SH)
	return m, err
}

// lockFile opens and locks a file. With LOCK_NB it fails with EWOULDBLOCK if somebody else has the lock.
func lockFile(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(f, how); err != nil {
		f.Close() // it was only to be locked
		return nil, err
	}
	return f, nil
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func (m *machine) path(parts ...string) string {
	return filepath.Join(append([]string{m.dir}, parts...)...)
}

func (m *machine) statePath(pool string) string { return m.path("pools", pool+".json") }

func (m *machine) head(p *pool, d *dataset) string {
	return m.path("heads", p.Name, fmt.Sprint(d.ID))
}

func (m *machine) store(p *pool) *store.Store { return store.Open(m.path("packs", p.Name)) }

// errNoPool is returned for a pool that is not there, or not imported.
var errNoPool = errors.New("no such pool")

func (m *machine) loadAny(name string) (*pool, error) {
	b, err := os.ReadFile(m.statePath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoPool
	}
	if err != nil {
		return nil, err
	}
	p := &pool{}
	if err := json.Unmarshal(b, p); err != nil {
		return nil, fmt.Errorf("state of pool %s: %w", name, err)
	}
	return p, nil
}

// load returns the state of an imported pool, after completing what a dead process left undone.
func (m *machine) load(name string) (*pool, error) {
	p, err := m.loadAny(name)
	if err != nil {
		return nil, err
	}
	if p.Exported {
		return nil, errNoPool
	}
	if len(p.Pending) == 0 && !m.hasDeadReceive(p) {
		return p, nil
	}
	lock, err := lockFile(m.lockPath(name), syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil {
		return p, nil // somebody is at it
	}
	defer lock.Close() // closing unlocks
	if p, err = m.loadAny(name); err != nil {
		return nil, err
	}
	return p, m.repair(p)
}

func (m *machine) lockPath(pool string) string { return m.path("pools", pool+".lock") }

func (m *machine) poolNames() ([]string, error) {
	files, err := filepath.Glob(m.statePath("*"))
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(files))
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".json"))
	}
	sort.Strings(names)
	return names, nil
}

// pools returns all imported pools.
func (m *machine) pools() ([]*pool, error) {
	names, err := m.poolNames()
	if err != nil {
		return nil, err
	}
	var ps []*pool
	for _, n := range names {
		p, err := m.load(n)
		if errors.Is(err, errNoPool) {
			continue
		}
		if err != nil {
			return nil, err
		}
		ps = append(ps, p)
	}
	return ps, nil
}

// txn is one change of a pool, under its lock.
type txn struct {
	m     *machine
	p     *pool
	s     *store.Store
	txg   uint64 // of this change
	wrote bool   // blocks were written
}

// update runs fn on the pool under its lock and commits what fn did, unless fn returns an error.
func (m *machine) update(name string, fn func(*txn) error) error {
	lock, err := lockFile(m.lockPath(name), syscall.LOCK_EX)
	if err != nil {
		return err
	}
	defer lock.Close() // closing unlocks
	p, err := m.loadAny(name)
	if err != nil {
		return err
	}
	if p.Exported {
		return errNoPool
	}
	if err := m.repair(p); err != nil {
		return err
	}
	return m.change(p, fn)
}

func (m *machine) change(p *pool, fn func(*txn) error) error {
	tx := &txn{m: m, p: p, s: m.store(p), txg: p.Txg + 1}
	defer tx.s.Close()
	if err := fn(tx); err != nil {
		return err
	}
	p.Txg = max(p.Txg, tx.txg)
	m.faults.beforeCommit()
	if err := m.save(p); err != nil {
		return err
	}
	m.faults.committed()
	if err := m.complete(p, tx.s); err != nil {
		return err
	}
	m.collect(p, tx.s)
	m.faults.afterCommit()
	return nil
}

// save replaces the state of a pool in one step.
func (m *machine) save(p *pool) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return replaceFile(m.statePath(p.Name), b)
}

func replaceFile(path string, b []byte) error {
	tmp := fmt.Sprintf("%s.%d.new", path, os.Getpid())
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// repair completes what a dead process had committed but not carried out, and drops receives that died.
func (m *machine) repair(p *pool) error {
	s := m.store(p)
	defer s.Close()
	if err := m.complete(p, s); err != nil {
		return err
	}
	if !m.hasDeadReceive(p) {
		return nil
	}
	for _, d := range append([]*dataset(nil), p.Datasets...) {
		if d.Recv != nil && !d.Recv.Resumable && !m.receiving(p, d) {
			p.dropReceive(d)
		}
	}
	if err := m.save(p); err != nil {
		return err
	}
	return m.complete(p, s)
}

// collect frees blocks if nobody reads trees; otherwise a later command will.
func (m *machine) collect(p *pool, s *store.Store) {
	if !p.Garbage {
		return
	}
	defer flock(m.gc, syscall.LOCK_SH) //nolint:errcheck // also after a refusal: trying for more may have lost what we had
	if flock(m.gc, syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return
	}
	keep := map[uint64]bool{}
	for _, d := range p.Datasets {
		if d.Recv != nil {
			keep[d.Recv.Txg] = true
		}
	}
	if s.Collect(p.roots(), keep) == nil {
		p.Garbage = false
		m.save(p) //nolint:errcheck // if it fails the next command collects again
	}
}

// newGUID returns a random identity.
func newGUID() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}
