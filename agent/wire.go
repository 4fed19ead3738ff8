package agent

import (
	"errors"
	"fmt"
	"time"

	"github.com/drover-project/drover/state"
)

// The paths that an agent serves.
const (
	pathNode    = "/v1/node"
	pathCopy    = "/v1/copy"
	pathUnused  = "/v1/unused"
	pathStreams = "/v1/streams"
	pathAnswers = "/v1/answers"
	pathStep    = "/v1/step"
	pathLimits  = "/v1/limits"
	pathReceive = "/v1/receive"
	pathHealth  = "/healthz"
)

// maxBody bounds a request's and a reply's body, in bytes. A node with thousands of copies fits a reply.
const (
	maxRequest = 1 << 20
	maxReply   = 256 << 20
)

// Request is the body of a step's request.
type Request struct {
	Term state.Term // of the leader that asks; an agent refuses a lower one than it has seen
	Step state.Step
}

// limitsRequest is the body of a request for other limits.
type limitsRequest struct {
	Term   state.Term // as in Request
	Limits state.Limits
}

// Result is what a step left behind, as read back after it.
type Result struct {
	Copy    *state.Copy    `json:",omitempty"` // this node's copy
	Peer    *state.Copy    `json:",omitempty"` // the target's copy, after a stream
	Gone    bool           `json:",omitempty"` // the copy is no longer on this node
	Gate    *state.Gate    `json:",omitempty"`
	Refused *state.Refusal `json:",omitempty"` // what this node has sworn never to take
	Notes   []string       `json:",omitempty"` // what did not matter enough to fail, for people
}

// unusedReply is the answer to "is it still used?".
type unusedReply struct {
	Users []state.User
	Notes []string `json:",omitempty"`
}

// question asks whether an app answers.
type question struct {
	Probes []state.Probe
	Wait   time.Duration // at most this long
}

// answersReply says whether every probe was answered, and why the last one was not.
type answersReply struct {
	Answers bool
	Why     string `json:",omitempty"`
}

// Code says what kind of error an agent answered.
type Code string

// The codes, and the errors that they match with errors.Is.
const (
	CodeStaleTerm   Code = "stale-term"
	CodeUnexpected  Code = "unexpected"
	CodeBusy        Code = "busy"
	CodeNoSpace     Code = "no-space"
	CodeInTheWay    Code = "in-the-way"
	CodeNotFound    Code = "not-found"
	CodeRefused     Code = "refused"
	CodeUnsupported Code = "unsupported"
	CodeUnknown     Code = "unknown"
	CodeUnreachable Code = "unreachable"
	CodeBadRequest  Code = "bad-request"
	CodeForbidden   Code = "forbidden"
	CodeInternal    Code = "internal"
)

// What an [Error] may be, for errors.Is.
var (
	// ErrStaleTerm: a newer leader has been here. The sender is no longer the leader.
	ErrStaleTerm = errors.New("a newer leader has been here")
	// ErrUnexpected: the copy's (role, epoch) is not the expected pair, or there is no copy. Look again.
	ErrUnexpected = errors.New("the copy is not what the step expects")
	// ErrBusy: processes use the volume, or another step or a receive runs on it. It may go away by itself.
	ErrBusy = errors.New("the volume is in use")
	// ErrNoSpace: the pool or the quota has no room.
	ErrNoSpace = errors.New("no space")
	// ErrInTheWay: a dataset that is not this volume has its name. A person must look.
	ErrInTheWay = errors.New("another dataset is in the way")
	// ErrNotFound: no copy of the volume is on this node, or the dataset to adopt does not exist.
	ErrNotFound = errors.New("not found")
	// ErrRefused: the pair is as expected, but the step's evidence or the copy's condition forbids it.
	ErrRefused = errors.New("refused")
	// ErrUnsupported: the node's OpenZFS or pool is older than the data. A person must upgrade it, or choose another node.
	ErrUnsupported = errors.New("not supported by the node")
	// ErrUnknown: a command timed out or the connection broke after the request was sent; the effect may be there or not.
	ErrUnknown = errors.New("outcome unknown")
	// ErrUnreachable: the agent did not answer; the request did not reach it, or it was only a question.
	ErrUnreachable = errors.New("unreachable")
	// ErrBadRequest: the request is malformed or carries a bad name. A mistake of the sender.
	ErrBadRequest = errors.New("bad request")
	// ErrForbidden: the certificate's role may not do this.
	ErrForbidden = errors.New("forbidden")
	// ErrInternal: anything else that failed on the node, such as a zfs command.
	ErrInternal = errors.New("internal error")
)

// kinds pairs each code with its error.
var kinds = map[Code]error{
	CodeStaleTerm: ErrStaleTerm, CodeUnexpected: ErrUnexpected, CodeBusy: ErrBusy, CodeNoSpace: ErrNoSpace,
	CodeInTheWay: ErrInTheWay, CodeNotFound: ErrNotFound, CodeRefused: ErrRefused, CodeUnsupported: ErrUnsupported, CodeUnknown: ErrUnknown,
	CodeUnreachable: ErrUnreachable, CodeBadRequest: ErrBadRequest, CodeForbidden: ErrForbidden, CodeInternal: ErrInternal,
}

// Error is what an agent answers when it did not do what it was asked. Message is one sentence for people: what happened
// to which volume on which node, and what to do.
type Error struct {
	Code    Code
	Message string
	Copy    *state.Copy `json:",omitempty"` // the copy as it is, where that helps the sender to look again
	cause   error       // on this side of the wire only
}

// Error returns the sentence.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the code's error, and on the agent's own side the cause.
func (e *Error) Unwrap() []error {
	kind, ok := kinds[e.Code]
	if !ok {
		kind = ErrInternal
	}
	if e.cause == nil {
		return []error{kind}
	}
	return []error{kind, e.cause}
}

// errorf makes an Error. A %w in the format is kept as its cause.
func errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), cause: errors.Unwrap(err)}
}

// about adds the copy as it is.
func (e *Error) about(c *state.Copy) *Error {
	e.Copy = c
	return e
}
