package todo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // registers the driver "sqlite"; pure Go, so the program needs no C compiler
)

// Store keeps to-dos in one SQLite database. Its methods may be called from several goroutines.
type Store struct {
	db   *sql.DB
	path string
	lock *os.File
	// opened is the database file as it was when it was opened, to notice that another lies in its place.
	opened os.FileInfo
}

// DatabaseFile is the name of the database in the folder that OpenStore is given.
const DatabaseFile = "todo.db"

// ErrNoFolder says that the folder for the database is not there: its volume is not mounted here.
var ErrNoFolder = errors.New("the folder for the database does not exist")

const schema = `
CREATE TABLE IF NOT EXISTS todo (
	seq       INTEGER PRIMARY KEY AUTOINCREMENT,
	id        TEXT    NOT NULL UNIQUE,
	title     TEXT    NOT NULL,
	completed INTEGER NOT NULL,
	place     INTEGER
) STRICT`

// OpenStore opens the database in dir, and creates it if dir is empty. It never creates dir itself: a bare
// mountpoint must not be mistaken for a new and empty volume. It waits at most wait for another process
// to let go of the database.
func OpenStore(ctx context.Context, dir string, wait time.Duration) (*Store, error) {
	dir, err := existingFolder(dir)
	if err != nil {
		return nil, err
	}
	lock, err := lockFolder(ctx, dir, wait)
	if err != nil {
		return nil, err
	}
	s := &Store{path: filepath.Join(dir, DatabaseFile), lock: lock}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", s.path, err), s.Close())
	}
	return s, nil
}

func existingFolder(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("folder %s: %w", dir, err)
	}
	info, err := os.Stat(abs)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("%w: %s (is the volume mounted here? set TODO_DATA to a folder that exists)", ErrNoFolder, abs)
	case err != nil:
		return "", fmt.Errorf("folder for the database: %w", err)
	case !info.IsDir():
		return "", fmt.Errorf("%w: %s is not a folder", ErrNoFolder, abs)
	}
	return abs, nil
}

func (s *Store) open(ctx context.Context) error {
	db, err := sql.Open("sqlite", dataSource(s.path))
	if err != nil {
		return err
	}
	// One connection: requests follow one another, and none ever finds the database busy.
	db.SetMaxOpenConns(1)
	s.db = db
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return err
	}
	if err := s.checkPragmas(ctx); err != nil {
		return err
	}
	if s.opened, err = os.Stat(s.path); err != nil {
		return err
	}
	return flushFolder(filepath.Dir(s.path))
}

// dataSource makes a commit durable before it is acknowledged. fullfsync is for macOS, where fsync alone
// leaves data in the drive's cache; elsewhere it does nothing. busy_timeout is for somebody who
// looks at the file with another program meanwhile.
func dataSource(path string) string {
	q := url.Values{
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "fullfsync(1)"},
		"_txlock": {"immediate"},
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

// checkPragmas makes sure that SQLite really does what durability rests on: it answers a mode that it
// cannot have (WAL on some file systems) with another one and no error.
func (s *Store) checkPragmas(ctx context.Context) error {
	var mode string
	var level int
	if err := s.db.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return err
	}
	if err := s.db.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&level); err != nil {
		return err
	}
	const full = 2
	if mode != "wal" || level != full {
		return fmt.Errorf("journal_mode is %s and synchronous %d, want wal and %d", mode, level, full)
	}
	return nil
}

// flushFolder makes the names of new files in dir durable.
func flushFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Close writes the log back into the database file, so that what is left is one file, and lets go of the lock.
// Nothing is lost if that fails or never happens: the log is read at the next start.
func (s *Store) Close() error {
	var err error
	if s.db != nil {
		_, ckpt := s.db.Exec("PRAGMA wal_checkpoint(TRUNCATE)") //nolint:noctx // a stop goes to its end
		err = errors.Join(ckpt, s.db.Close())
	}
	if err = errors.Join(err, s.lock.Close()); err != nil {
		return fmt.Errorf("close %s: %w", s.path, err)
	}
	return nil
}

// Check says whether the database can be read and written now. It changes nothing on the disk: a probe that
// wrote would make every snapshot of an idle volume differ from the last.
func (s *Store) Check(ctx context.Context) error {
	now, err := os.Stat(s.path)
	if err != nil {
		return fmt.Errorf("database file: %w", err)
	}
	if !os.SameFile(now, s.opened) {
		return fmt.Errorf("%s is not the file that was opened: another volume is mounted there", s.path)
	}
	if err := unix.Access(s.path, unix.W_OK); err != nil {
		return fmt.Errorf("write %s: %w", s.path, err)
	}
	return s.inTx(ctx, func(tx *sql.Tx) error {
		var n int
		return tx.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT 1 FROM todo LIMIT 1)").Scan(&n)
	})
}

// inTx runs do in a transaction that holds the write lock. When it returns nil, what do wrote is on the disk.
// Single statements go through it too: the error of a commit is certain to be seen only here.
func (s *Store) inTx(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := do(tx); err != nil {
		if back := tx.Rollback(); back != nil && !errors.Is(back, sql.ErrTxDone) {
			err = errors.Join(err, back)
		}
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

const columns = "SELECT id, title, completed, place FROM todo "

// List returns the to-dos that q selects: first those with an order, then the others, oldest first.
func (s *Store) List(ctx context.Context, q Query) (List, error) {
	var l List
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		count := tx.QueryRowContext(ctx, "SELECT count(*), coalesce(sum(completed), 0) FROM todo")
		if err := count.Scan(&l.Total, &l.Completed); err != nil {
			return err
		}
		var err error
		l.Todos, err = selectTodos(ctx, tx, q)
		return err
	})
	return l, err
}

func selectTodos(ctx context.Context, tx *sql.Tx, q Query) ([]Todo, error) {
	limit := -1
	if q.Last > 0 {
		limit = q.Last
	}
	// Read from the end, because LIMIT keeps what comes first; turned round below.
	rows, err := tx.QueryContext(ctx, columns+`WHERE (?1 IS NULL OR completed = ?1)
		ORDER BY place IS NULL DESC, place DESC, seq DESC LIMIT ?2`, q.Completed, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	todos := []Todo{}
	for rows.Next() {
		t, err := scan(rows)
		if err != nil {
			return nil, err
		}
		todos = append(todos, t)
	}
	slices.Reverse(todos)
	return todos, rows.Err()
}

func scan(row interface{ Scan(...any) error }) (Todo, error) {
	var t Todo
	err := row.Scan(&t.ID, &t.Title, &t.Completed, &t.Order)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	return t, err
}

// Get returns one to-do, or ErrNotFound.
func (s *Store) Get(ctx context.Context, id string) (Todo, error) {
	return scan(s.db.QueryRowContext(ctx, columns+"WHERE id = ?", id))
}

// Add stores t unless its id is there already, and returns what is stored under that id and whether it is
// new. So a client whose first answer was lost may ask again.
func (s *Store) Add(ctx context.Context, t Todo) (stored Todo, added bool, err error) {
	if err := t.check(); err != nil {
		return Todo{}, false, err
	}
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `INSERT INTO todo (id, title, completed, place) VALUES (?, ?, ?, ?)
			ON CONFLICT (id) DO NOTHING`, t.ID, t.Title, t.Completed, t.Order)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		added = n == 1
		stored, err = scan(tx.QueryRowContext(ctx, columns+"WHERE id = ?", t.ID))
		return err
	})
	return stored, added, err
}

// Change sets the fields that c names and returns the whole to-do, or ErrNotFound.
func (s *Store) Change(ctx context.Context, id string, c Change) (t Todo, err error) {
	if err := c.check(); err != nil {
		return Todo{}, err
	}
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE todo SET title = coalesce(?, title),
			completed = coalesce(?, completed), place = coalesce(?, place) WHERE id = ?`,
			c.Title, c.Completed, c.Order, id)
		if err != nil {
			return err
		}
		t, err = scan(tx.QueryRowContext(ctx, columns+"WHERE id = ?", id))
		return err
	})
	return t, err
}

// Remove removes one to-do; that it is gone already is no error.
func (s *Store) Remove(ctx context.Context, id string) error {
	return s.exec(ctx, "DELETE FROM todo WHERE id = ?", id)
}

// Clear removes every to-do, or only the completed ones.
func (s *Store) Clear(ctx context.Context, onlyCompleted bool) error {
	return s.exec(ctx, "DELETE FROM todo WHERE completed OR NOT ?", onlyCompleted)
}

func (s *Store) exec(ctx context.Context, statement string, args ...any) error {
	return s.inTx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, statement, args...)
		return err
	})
}
