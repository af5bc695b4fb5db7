package execparent

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/tenure-dev/tenure/drivers"
)

// Spec is one command to run, complete: nothing is added to its environment.
type Spec struct {
	Argv []string
	Env  []drivers.EnvVar
	// Cwd is absolute.
	Cwd   string
	Stdin []byte
	// Credential is whom to run as; nil is the parent's own uid. Another one needs root.
	Credential *Credential
	// Timeout 0 is none.
	Timeout time.Duration
	// Grace lies between SIGTERM and SIGKILL.
	Grace time.Duration
	// Drain bounds how long output is awaited after the main process has exited.
	Drain time.Duration
	// JournalDir must hold no journal yet.
	JournalDir string
	// Sandbox, if set, is what the command runs in. Cwd and the program are looked up inside.
	Sandbox *Sandbox

	silence time.Duration // of a link; see LinkOptions
}

// Credential is a user to run as, without supplementary groups.
type Credential struct {
	UID uint32 `json:"uid"`
	GID uint32 `json:"gid"`
}

// wireSpec is a Spec on the pipe: a length, this as JSON, then the bytes of stdin, then control lines. Strings are bytes
// here, since JSON would mend what is not UTF-8.
type wireSpec struct {
	Argv       [][]byte      `json:"argv"`
	Env        [][]byte      `json:"env"`
	Cwd        []byte        `json:"cwd"`
	StdinBytes int64         `json:"stdinBytes"`
	Credential *Credential   `json:"credential,omitempty"`
	Timeout    time.Duration `json:"timeout"`
	Grace      time.Duration `json:"grace"`
	Drain      time.Duration `json:"drain"`
	JournalDir []byte        `json:"journalDir"`
	Sandbox    *wireSandbox  `json:"sandbox,omitempty"`
	// Inside is set for an inner parent.
	Inside  *inside       `json:"inside,omitempty"`
	Silence time.Duration `json:"silence,omitempty"`

	inPlace bool // see becomeLike
}

// control is one line after the spec.
type control struct {
	Kill *killRequest `json:"kill,omitempty"`
}

type killRequest struct {
	Why string `json:"why"`
	// Now skips the grace.
	Now bool `json:"now,omitempty"`
}

// status is one line from the parent. First comes started or startFailed, after started comes result.
type status struct {
	Started     *drivers.Process    `json:"started,omitempty"`
	StartFailed *startFailed        `json:"startFailed,omitempty"`
	Result      *drivers.ExecResult `json:"result,omitempty"`
	// NotRun and Ended are the words of an inner parent; Ended is a wait status.
	NotRun *wireNotRun `json:"notRun,omitempty"`
	Ended  *uint32     `json:"ended,omitempty"`
}

type wireNotRun struct {
	ExitCode int    `json:"exitCode"`
	Message  string `json:"message"`
}

type startFailed struct {
	Stage       string `json:"stage"`
	Code        string `json:"code"`
	Message     string `json:"message"`
	Remediation string `json:"remediation,omitempty"`
}

// maxSpecBytes bounds the JSON of a spec. What execve accepts is below 2 MiB and grows by a third in base64.
const maxSpecBytes = 16 << 20

func writeSpec(w io.Writer, s Spec) error {
	wire := wireSpec{
		Argv: toBytes(s.Argv), Cwd: []byte(s.Cwd), StdinBytes: int64(len(s.Stdin)), Credential: s.Credential,
		Timeout: s.Timeout, Grace: s.Grace, Drain: s.Drain, JournalDir: []byte(s.JournalDir),
		Silence: s.silence,
	}
	for _, v := range merge(s.Env) {
		wire.Env = append(wire.Env, []byte(v.Name+"="+v.Value))
	}
	if s.Sandbox != nil {
		wire.Sandbox = &wireSandbox{Argv: toBytes(s.Sandbox.Argv), Join: toBytes(s.Sandbox.Join)}
	}
	return sendSpec(w, wire, s.Stdin)
}

func sendSpec(w io.Writer, wire wireSpec, stdin []byte) error {
	b, err := json.Marshal(wire)
	if err != nil {
		return err
	}
	if len(b) > maxSpecBytes {
		return fmt.Errorf("the command needs %d bytes of at most %d", len(b), maxSpecBytes)
	}
	if _, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)); err != nil {
		return err
	}
	_, err = w.Write(stdin)
	return err
}

// readSpec leaves r at the first byte of stdin.
func readSpec(r io.Reader) (wireSpec, error) {
	var s wireSpec
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return s, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxSpecBytes {
		return s, fmt.Errorf("the spec is %d bytes long", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, err
	}
	if len(s.Argv) == 0 || s.StdinBytes < 0 {
		return s, fmt.Errorf("the spec has %d arguments and %d bytes of stdin", len(s.Argv), s.StdinBytes)
	}
	return s, nil
}

// merge keeps the last of every name, in the place of the first: programs differ in which of two equal names they see.
func merge(env []drivers.EnvVar) []drivers.EnvVar {
	at := make(map[string]int, len(env))
	merged := make([]drivers.EnvVar, 0, len(env))
	for _, v := range env {
		if i, ok := at[v.Name]; ok {
			merged[i] = v
			continue
		}
		at[v.Name] = len(merged)
		merged = append(merged, v)
	}
	return merged
}

func toStrings(bs [][]byte) []string {
	ss := make([]string, len(bs))
	for i, b := range bs {
		ss[i] = string(b)
	}
	return ss
}

func toBytes(ss []string) [][]byte {
	bs := make([][]byte, len(ss))
	for i, s := range ss {
		bs[i] = []byte(s)
	}
	return bs
}
