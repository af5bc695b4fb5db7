package host_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
)

// The test binary is also the worker and, for one test, the engine. The worker is written by hand, on nothing of ours but
// the words of a result, so that it does not agree with the host by construction.
const (
	workerArg = "__worker"
	engineArg = "__engine"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case workerArg:
			syscall.Exit(runWorker(os.Args[2:]))
		case engineArg:
			syscall.Exit(runEngine(os.Args[2]))
		}
	}
	driverstest.Main(m, func() int { return 2 })
}

type message = map[string]any

// scripted is the worker: flags say how it behaves as a whole, a configuration's field do how it takes one call.
type scripted struct {
	flags []string

	mu      sync.Mutex
	out     *os.File
	lastID  int
	replies map[int]chan message
	cancels map[string]chan struct{}
	credit  map[string]chan int64
	kills   map[string]chan string
	running int
	both    chan struct{}
	another chan struct{}
	once    sync.Once
	record  *os.File
}

func runWorker(flags []string) int {
	s := &scripted{
		flags: flags, out: os.Stdout, replies: map[int]chan message{}, cancels: map[string]chan struct{}{},
		credit: map[string]chan int64{}, kills: map[string]chan string{}, both: make(chan struct{}), another: make(chan struct{}),
	}
	if path, ok := s.value("record="); ok {
		s.record, _ = os.Create(path)
	}
	if path, ok := s.value("starts="); ok {
		f, _ := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		fmt.Fprintln(f, os.Getpid())
		_ = f.Close()
	}
	if _, tidies := s.value("tidies="); tidies || s.flag("deaf") {
		signal.Ignore(syscall.SIGTERM)
	}
	if s.flag("banner") {
		s.line([]byte("started v1.2"))
		s.line([]byte(`{"level":30,"msg":"up"}`))
	}
	if s.flag("die-at-once") {
		fmt.Fprintln(os.Stderr, "cannot find the module")
		return 7
	}
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			if _, tidies := s.value("tidies="); tidies || s.flag("deaf") {
				select {} // its standard input has ended, and it does not care
			}
			return 0
		}
		if s.record != nil {
			fmt.Fprintf(s.record, "host→ %s", line)
		}
		var m message
		if json.Unmarshal(line, &m) != nil || bytes.ContainsRune(line, '\u2028') {
			fmt.Fprintf(os.Stderr, "bad line of the host: %q\n", line)
			return 9
		}
		if m["method"] == "environmentAcquireLease" && do(m) == "stuck" {
			select {} // nothing is read any more
		}
		if m["method"] == "$/cancel" {
			id := fmt.Sprint(m["params"].(message)["id"])
			s.mu.Lock()
			if c := s.cancels[id]; c != nil {
				close(c)
				delete(s.cancels, id)
			}
			s.mu.Unlock()
			continue
		}
		if m["method"] == nil {
			s.mu.Lock()
			c := s.replies[int(m["id"].(float64))]
			s.mu.Unlock()
			c <- m
			continue
		}
		if m["id"] == nil {
			s.notification(m)
			continue
		}
		s.mu.Lock()
		s.cancels[fmt.Sprint(m["id"])] = make(chan struct{})
		s.mu.Unlock()
		go s.serve(m)
	}
}

func (s *scripted) flag(name string) bool { return slices.Contains(s.flags, name) }

func (s *scripted) value(prefix string) (string, bool) {
	for _, f := range s.flags {
		if v, ok := strings.CutPrefix(f, prefix); ok {
			return v, true
		}
	}
	return "", false
}

func config(m message) message {
	p, _ := m["params"].(message)
	c, _ := p["config"].(message)
	return c
}

func do(m message) string {
	v, _ := config(m)["do"].(string)
	return v
}

func (s *scripted) line(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.record != nil {
		fmt.Fprintf(s.record, "worker→ %s\n", b)
	}
	_, _ = s.out.Write(append(b, '\n'))
}

func (s *scripted) send(m message) {
	m["jsonrpc"] = "2.0"
	b, _ := json.Marshal(m)
	s.line(b)
}

func (s *scripted) reply(to message, result any) { s.send(message{"id": to["id"], "result": result}) }

func (s *scripted) refuse(to message, code int, text string, data any) {
	e := message{"code": code, "message": text}
	if data != nil {
		e["data"] = data
	}
	s.send(message{"id": to["id"], "error": e})
}

// ask asks the host and waits.
func (s *scripted) ask(method string, params any, invocation string) message {
	s.mu.Lock()
	s.lastID++
	id := s.lastID
	c := make(chan message, 1)
	s.replies[id] = c
	s.mu.Unlock()
	m := message{"id": id, "method": method, "params": params}
	if invocation != "" {
		m["paperclipInvocationId"] = invocation
	}
	s.send(m)
	return <-c
}

func invocationID(m message) string {
	inv, _ := m["paperclipInvocation"].(message)
	id, _ := inv["id"].(string)
	return id
}

func (s *scripted) cancelled(m message) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.cancels[fmt.Sprint(m["id"])]; c != nil {
		return c
	}
	gone := make(chan struct{})
	close(gone)
	return gone
}

func (s *scripted) serve(m message) {
	switch m["method"] {
	case "initialize":
		s.initialize(m)
	case "health":
		status := "ok"
		if s.flag("chatty-health") {
			status = strings.Repeat("ok ", 1<<20)
		}
		s.reply(m, message{"status": status, "message": "fine"})
	case "shutdown":
		if path, ok := s.value("tidies="); ok {
			s.reply(m, nil)
			_ = s.out.Close()
			time.AfterFunc(1500*time.Millisecond, func() {
				_ = os.WriteFile(path, nil, 0o600)
				os.Exit(0)
			})
			return
		}
		if !s.flag("deaf") {
			s.reply(m, nil)
			os.Exit(0)
		}
	case "environmentAcquireLease":
		s.acquire(m)
	case "environmentResumeLease", "environmentReleaseLease", "environmentDestroyLease", "environmentProbe", "environmentValidateConfig", "tenureListRuntimes":
		s.canned(m)
	case "environmentExecute":
		s.execute(m)
	case "tenureExecStart":
		s.execStart(m)
	case "tenureExecKill":
		p := m["params"].(message)
		s.mu.Lock()
		k := s.kills[p["execId"].(string)]
		s.mu.Unlock()
		if k != nil {
			k <- p["why"].(string)
		}
		s.reply(m, nil)
	default:
		s.refuse(m, -32601, "unknown", nil)
	}
}

func (s *scripted) initialize(m message) {
	switch {
	case s.flag("init-silent"):
		return
	case s.flag("init-error"):
		s.refuse(m, -32002, "setup failed: no token in "+os.Getenv("TOKEN"), nil)
		return
	case s.flag("init-not-ok"):
		s.reply(m, message{"ok": false})
		return
	case s.flag("init-die"):
		fmt.Fprintln(os.Stderr, "out of luck")
		os.Exit(4)
	case s.flag("init-asks"):
		if got := s.ask("config.get", message{}, ""); got["error"] != nil {
			os.Exit(5)
		}
	}
	methods := []string{
		"environmentAcquireLease", "environmentReleaseLease", "environmentDestroyLease", "environmentResumeLease",
		"environmentProbe", "environmentExecute", "environmentValidateConfig", "tenureExecStart", "tenureExecKill", "tenureListRuntimes",
	}
	if missing, ok := s.value("without="); ok {
		methods = slices.DeleteFunc(methods, func(m string) bool { return m == missing })
	}
	result := message{"ok": true, "supportedMethods": methods}
	if !s.flag("legacy") {
		class := "idempotent"
		if s.flag("lie-class") {
			class = "blind"
		}
		if s.flag("lie-at-length") {
			class = strings.Repeat("blind", 1<<20)
		}
		result["tenure"] = message{"version": 1, "drivers": message{"box": message{"class": class, "isolation": "none", "exec": true, "list": true}}}
	}
	s.reply(m, result)
}

func (s *scripted) acquire(m message) {
	c := config(m)
	lease := message{"providerLeaseId": "box-1", "metadata": message{"k": "v"}}
	switch do(m) {
	case "look":
		lease["metadata"] = look()
	case "die":
		fmt.Fprintln(os.Stderr, "going down")
		os.Exit(3)
	case "half":
		s.mu.Lock()
		_, _ = s.out.WriteString(`{"jsonrpc":"2.0","id":1,"res`)
		os.Exit(0)
	case "silent":
		return
	case "when-cancelled":
		cancelled := s.cancelled(m)
		s.once.Do(func() { close(s.another) })
		<-cancelled
	case "another":
		s.once.Do(func() { close(s.another) })
	case "after-another":
		<-s.another
	case "reason-when-cancelled":
		cancelled := s.cancelled(m)
		s.once.Do(func() { close(s.another) })
		<-cancelled
		s.refuse(m, -32002, "the image cannot be pulled", message{
			"schema": "tenure/error/v1", "outcome": "definite", "code": "image_pull_failed", "step": "pull", "remediation": "name an image that exists",
		})
		return
	case "refuse":
		e := c["error"].(message)
		s.refuse(m, int(e["code"].(float64)), e["message"].(string), e["data"])
		return
	case "named":
		lease["providerLeaseId"] = c["name"]
	case "junk":
		s.line([]byte(`{"level":30,"msg":"` + fmt.Sprint(c["apiKey"]) + `"}`))
		s.line([]byte("plain " + fmt.Sprint(c["apiKey"])))
	case "big":
		lease["metadata"] = message{"big": strings.Repeat("x", 5<<20)}
	case "endless":
		chunk := bytes.Repeat([]byte("x"), 1<<20)
		for range 1024 {
			if _, err := s.out.Write(chunk); err != nil {
				return
			}
		}
	case "separators":
		s.line([]byte(`{"jsonrpc":"2.0","id":` + fmt.Sprint(m["id"]) + `,"result":{"providerLeaseId":"a` + "\u2028" + `b"}}`))
		return
	case "null":
		s.reply(m, nil)
		return
	case "bad-reply":
		s.reply(m, "no lease")
		return
	case "ask":
		a := c["ask"].(message)
		inv, _ := a["invocation"].(string)
		if inv == "own" {
			inv = invocationID(m)
		}
		lease["metadata"] = s.ask(a["method"].(string), a["params"], inv)
	case "chatter":
		secret := fmt.Sprint(c["apiKey"])
		fmt.Fprintln(os.Stderr, "using key "+secret)
		s.send(message{"method": "log", "params": message{"level": "warn", "message": "key is " + secret, "meta": message{"key": secret}}})
		s.refuse(m, 401, "the key "+secret+" is not accepted", nil)
		return
	case "shout":
		fmt.Fprintln(os.Stderr, c["text"])
		fmt.Fprintln(os.Stderr, "that was all")
	case "flood":
		long := strings.Repeat("y", 100)
		for range 20_000 {
			fmt.Fprintln(os.Stderr, long)
		}
	case "close-stdout":
		_ = s.out.Close()
		select {}
	case "children":
		near, far := exec.CommandContext(context.Background(), "sleep", "600"), exec.CommandContext(context.Background(), "sleep", "600")
		far.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		_, _ = near.Start(), far.Start()
		lease["metadata"] = message{"pids": []int{near.Process.Pid, far.Process.Pid}}
	}
	s.reply(m, lease)
}

// look is what a worker sees of the world.
func look() message {
	open := []string{}
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(target, "anon_inode:") {
			open = append(open, e.Name()+"="+target)
		}
	}
	status, _ := os.ReadFile("/proc/self/status")
	environ, _ := os.ReadFile("/proc/self/environ")
	cmdline, _ := os.ReadFile("/proc/self/cmdline")
	cwd, _ := os.Getwd()
	sid, _ := unix.Getsid(0)
	parent := message{}
	for _, name := range []string{"environ", "cmdline"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", os.Getppid(), name))
		parent[name] = fmt.Sprint(string(b), err)
	}
	return message{
		"env": os.Environ(), "fds": open, "status": string(status), "environ": string(environ), "cmdline": string(cmdline), "cwd": cwd,
		"pid": os.Getpid(), "pgid": unix.Getpgrp(), "sid": sid, "parent": parent,
	}
}

// canned answers what the configuration says for the method, null if nothing, and "silent" never.
func (s *scripted) canned(m message) {
	answers, _ := config(m)["answers"].(message)
	switch a := answers[m["method"].(string)].(type) {
	case message:
		if e, ok := a["error"].(message); ok {
			s.refuse(m, int(e["code"].(float64)), e["message"].(string), e["data"])
			return
		}
		s.reply(m, a["result"])
	case string: // silent
	default:
		s.reply(m, nil)
	}
}

func (s *scripted) notification(m message) {
	if m["method"] != "tenureExec.credit" {
		return
	}
	p := m["params"].(message)
	s.mu.Lock()
	c := s.credit[p["execId"].(string)]
	s.mu.Unlock()
	if c != nil {
		c <- int64(p["bytes"].(float64))
	}
}

// execute runs "echo" in words: each argument is a piece of output.
func (s *scripted) execute(m message) {
	p := m["params"].(message)
	args, _ := p["args"].([]any)
	inv := invocationID(m)
	if s.flag("no-echo") {
		inv = ""
	}
	whole := ""
	if p["command"] == "pair" { // two at once
		s.mu.Lock()
		if s.running++; s.running == 2 {
			close(s.both)
		}
		s.mu.Unlock()
		<-s.both
	}
	for _, a := range args {
		n := message{"method": "execute.log", "params": message{"stream": "stdout", "chunk": a}}
		if inv != "" {
			n["paperclipInvocationId"] = inv
		}
		s.send(n)
		whole += a.(string)
	}
	switch p["command"] {
	case "die":
		os.Exit(3)
	case "forever":
		return
	case "when-cancelled": // and late: the host has given it up, and says so with another call
		<-s.cancelled(m)
		<-s.another
	case "env":
		b, _ := json.Marshal(p["env"])
		whole = string(b)
	case "shot":
		s.reply(m, message{"exitCode": nil, "timedOut": false, "stdout": "", "stderr": "", "signal": strings.Repeat("SIG", 1<<20)})
		return
	case "cat":
		whole = p["stdin"].(string)
	}
	s.reply(m, message{"exitCode": 0, "timedOut": false, "stdout": whole, "stderr": "", "signal": nil})
}

// execStart runs a command in words: argv[0] says what it does.
func (s *scripted) execStart(m message) {
	raw, _ := json.Marshal(m["params"])
	var p struct {
		ExecID string
		Argv   [][]byte
		Credit int64
		Stdin  []byte
	}
	_ = json.Unmarshal(raw, &p)
	credit, kill := make(chan int64, 1<<16), make(chan string, 8)
	s.mu.Lock()
	s.credit[p.ExecID], s.kills[p.ExecID] = credit, kill
	s.mu.Unlock()
	arg := func(i int) int {
		var n int
		if i < len(p.Argv) {
			_, _ = fmt.Sscan(string(p.Argv[i]), &n)
		}
		return n
	}
	started := message{"pid": os.Getpid(), "startTime": 1, "bootId": "b"}
	stdout := sha256.New()
	var sent, dropped int64
	put := func(data []byte) {
		stdout.Write(data)
		sent += int64(len(data))
		s.send(message{"method": "tenureExec.output", "params": message{"execId": p.ExecID, "stream": 1, "data": data}})
	}
	end := func(r drivers.ExecResult) {
		empty := sha256.Sum256(nil)
		r.Output = drivers.OutputSeal{
			State: drivers.OutputComplete, Dropped: dropped,
			Stdout: drivers.StreamSeal{Bytes: sent + dropped, SHA256: hex.EncodeToString(stdout.Sum(nil))},
			Stderr: drivers.StreamSeal{SHA256: hex.EncodeToString(empty[:])},
		}
		if dropped > 0 {
			r.Output.State = drivers.OutputTruncated
		}
		s.send(message{"method": "tenureExec.end", "params": message{"execId": p.ExecID, "result": r}})
	}
	switch string(p.Argv[0]) {
	case "refuse":
		s.refuse(m, -32002, "no such directory", message{"schema": "tenure/error/v1", "stage": "cwd", "code": "not_found", "remediation": "name one that exists"})
	case "early": // everything before the answer
		put([]byte("quick"))
		end(drivers.ExecResult{End: drivers.ExecExited, ExitCode: 5})
		s.reply(m, started)
	case "spew":
		s.reply(m, started)
		left, n := p.Credit, arg(1)
		for n > 0 {
			for left == 0 {
				left += <-credit
			}
			size := min(64<<10, int64(n), left)
			chunk := bytes.Repeat([]byte{byte('a' + n%26)}, int(size))
			put(chunk)
			left -= size
			n -= int(size)
		}
		end(drivers.ExecResult{End: drivers.ExecExited})
	case "greedy": // what is allowed, then one byte more than can ever be
		s.reply(m, started)
		for _, more := range []int{0, 1} {
			put(bytes.Repeat([]byte("g"), int(p.Credit)+more))
		}
		end(drivers.ExecResult{End: drivers.ExecExited})
	case "gap":
		s.reply(m, started)
		put([]byte("before"))
		dropped = 10
		stdout.Write([]byte("0123456789"))
		s.send(message{"method": "tenureExec.output", "params": message{"execId": p.ExecID, "stream": 1, "dropped": 10}})
		put([]byte("after"))
		end(drivers.ExecResult{End: drivers.ExecExited})
	case "wait":
		s.reply(m, started)
		put(p.Stdin)
		why := <-kill
		end(drivers.ExecResult{End: drivers.ExecKilled, Why: why})
	case "die":
		s.reply(m, started)
		put([]byte("last words"))
		<-kill
		os.Exit(3)
	case "die-unanswered":
		os.Exit(3)
	case "nonsense":
		s.reply(m, started)
		s.send(message{"method": "tenureExec.end", "params": message{"execId": p.ExecID, "result": message{"end": "fine"}}})
	case "unclean":
		started["bootId"] = "b\x00"
		s.reply(m, started)
		s.send(message{"method": "tenureExec.end", "params": message{"execId": p.ExecID, "result": drivers.ExecResult{
			End: drivers.ExecExited, Output: drivers.OutputSeal{
				State: drivers.OutputTruncated, Dropped: 1, Stdout: drivers.StreamSeal{Bytes: 1, SHA256: "\x00"},
			},
		}}})
	case "shot":
		s.reply(m, started)
		end(drivers.ExecResult{End: drivers.ExecSignaled, Signal: strings.Repeat("SIG", 1<<20)})
	case "silent":
	}
}

// runEngine is an engine that starts one worker, says its pid, and then does nothing.
func runEngine(dir string) int {
	h, err := newEngineHost(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_ = os.WriteFile(filepath.Join(dir, "pid"), []byte(fmt.Sprint(h)), 0o600)
	fmt.Fprintln(os.Stdout, h)
	_, _ = io.Copy(io.Discard, os.Stdin)
	select {}
}
