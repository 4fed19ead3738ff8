package zfs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/drover-project/drover/state"
)

// Token is what a resume token says. A peer can say anything in it: who sends by it compares name and guids with what it
// means to send.
type Token struct {
	ToName     string     // dataset@name on the sender
	ToGUID     state.GUID // of that snapshot
	FromGUID   state.GUID // of the base; 0 for a full stream
	Object     uint64     // where it goes on
	Offset     uint64     // in that object, bytes
	Bytes      int64      // received so far
	LargeBlock bool       // -L
	Embed      bool       // -e
	Compress   bool       // -c
	Raw        bool       // -w
	Saved      bool       // -S: of a half-received dataset itself
}

// maxToken bounds a resume token; one of a stream without redaction has some 210 characters.
const maxToken = 16 << 10

func checkToken(token string) error {
	if len(token) > maxToken || !tokenForm.MatchString(token) {
		return refuse("resume token %q", clip(token))
	}
	return nil
}

// TokenContents reads a resume token. zfs answers only where the snapshot might be: on the sender. If what the token speaks
// of is gone there, the contents come along with ErrTokenStale. A token that zfs cannot read is ErrTokenCorrupt.
func (z *ZFS) TokenContents(ctx context.Context, token string) (Token, error) {
	if err := checkToken(token); err != nil {
		return Token{}, fmt.Errorf("token contents: %w", err)
	}
	out, err := z.run(ctx, "zfs", "send", "-n", "-v", "-t", token)
	if err != nil && !errors.Is(err, ErrTokenStale) {
		return Token{}, err
	}
	t, unread := parseToken(out)
	if unread != nil {
		return Token{}, errors.Join(err, fmt.Errorf("zfs send -nvt: %w", unread))
	}
	return t, err
}

// parseToken reads the name-value list. Pairs of other features, such as redaction, are passed over.
func parseToken(out []byte) (Token, error) {
	pairs := map[string]string{}
	for line := range strings.SplitSeq(string(out), "\n") {
		key, v, ok := strings.Cut(line, " = ")
		if !ok || !strings.HasPrefix(key, "\t") {
			continue
		}
		key = key[1:]
		if _, twice := pairs[key]; twice {
			return Token{}, fmt.Errorf("%s comes twice: %w", clip(key), ErrOutput)
		}
		pairs[key] = v
	}
	return newToken(pairs)
}

func newToken(pairs map[string]string) (t Token, err error) {
	r := &tokenReader{pairs: pairs}
	t.ToName = pairs["toname"]
	t.ToGUID = state.GUID(r.hex("toguid", true))
	t.FromGUID = state.GUID(r.hex("fromguid", false))
	t.Object, t.Offset = r.hex("object", true), r.hex("offset", true)
	t.Bytes = int64(r.hex("bytes", true))
	t.LargeBlock, t.Embed, t.Compress = r.flag("largeblockok"), r.flag("embedok"), r.flag("compressok")
	t.Raw, t.Saved = r.flag("rawok"), r.flag("savedok")
	if r.err == nil && t.Bytes < 0 {
		r.err = fmt.Errorf("bytes %s: %w", pairs["bytes"], ErrOutput)
	}
	if r.err == nil && checkSnapshot(t.ToName) != nil {
		r.err = fmt.Errorf("toname %q: %w", clip(t.ToName), ErrOutput)
	}
	if r.err != nil {
		return Token{}, r.err
	}
	return t, nil
}

type tokenReader struct {
	pairs map[string]string
	err   error
}

func (r *tokenReader) hex(key string, required bool) uint64 {
	text, ok := r.pairs[key]
	if !ok && !required {
		return 0
	}
	digits, hex := strings.CutPrefix(text, "0x")
	n, err := strconv.ParseUint(digits, 16, 64)
	if (err != nil || !hex) && r.err == nil {
		r.err = fmt.Errorf("%s %q: %w", key, clip(text), ErrOutput)
	}
	return n
}

// flag reads a boolean, which is there with the value 1 or not there.
func (r *tokenReader) flag(key string) bool {
	text, ok := r.pairs[key]
	if ok && text != "1" && r.err == nil {
		r.err = fmt.Errorf("%s %q: %w", key, clip(text), ErrOutput)
	}
	return ok
}
