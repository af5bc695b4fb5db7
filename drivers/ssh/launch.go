package ssh

import (
	_ "embed" // what runs a command on the host
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tenure-dev/tenure/drivers"
)

//go:embed runner.pl
var runner string

//go:embed launcher.py
var pythonLauncher string

//go:embed launcher.sh
var launcherScript string

// The loaders read as many bytes as their argument says and run them. They stand in single quotes, in which no login shell
// gives a meaning to what they consist of.
const (
	perlLoader   = `while(length($s)<$ARGV[0]){sysread(STDIN,$s,$ARGV[0]-length($s),length($s))||exit 97}eval $s;print STDERR $@;exit 98`
	pythonLoader = `import os,sys;f=lambda n,b=b"":b if len(b)==n else f(n,b+(os.read(0,n-len(b)) or os._exit(97)));exec(f(int(sys.argv[1])))`
	shLoader     = `eval "$(PATH=` + basePath + `:$PATH; dd bs=1 count=%d 2>/dev/null)"`
)

// launch is how to start a command: what the login shell reads, and what comes after that on stdin.
type launch struct {
	command string
	input   []byte
	// parent says that the command gets a parent that speaks in frames.
	parent bool
}

// marks are what a release and the end of the command look for. A launcher has them from its first moment: so it either sees
// that the runtime's marker is gone, or is found. Both ids are plain words.
func (s spec) marks() string {
	return runtimeVar + "=" + s.req.RuntimeID + " " + execVar + "=" + s.req.ExecID
}

// shellName is what every shell takes for a name and leaves alone.
var shellName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// kept are the names that some shell changes, or does not let be changed.
var kept = map[string]bool{
	"_": true, "PWD": true, "OLDPWD": true, "SHLVL": true, "PPID": true, "UID": true, "EUID": true, "IFS": true, "OPTIND": true,
	"BASHOPTS": true, "SHELLOPTS": true, "BASH_VERSINFO": true, "ENV": true, "BASH_ENV": true, "POSIXLY_CORRECT": true,
}

// launch picks the best way that the host has. Without perl a command has no parent; without python3 either, a shell sets
// its variables, and names that a shell does not pass on are refused.
func (s spec) launch(t tools) (launch, error) {
	switch {
	case t.perl != "":
		return launch{
			command: fmt.Sprintf("exec env -i %s -e '%s' %d", t.perl, perlLoader, len(runner)),
			input:   append([]byte(runner), s.encode()...), parent: true,
		}, nil
	case t.python != "":
		return launch{
			command: fmt.Sprintf("exec env -i %s %s -I -S -c '%s' %d", s.marks(), t.python, pythonLoader, len(pythonLauncher)),
			input:   append([]byte(pythonLauncher), s.encode()...),
		}, nil
	}
	var refused []string
	for _, v := range s.env {
		if !shellName.MatchString(v.Name) || kept[v.Name] {
			refused = append(refused, strconv.Quote(v.Name))
		}
	}
	if len(refused) > 0 {
		return launch{}, &drivers.StartError{
			Stage: "environment", Code: "name_not_possible",
			Err:         fmt.Errorf("the host has neither perl nor python3, and its shell cannot pass on: %s", strings.Join(refused, ", ")),
			Remediation: "install perl or python3 on the host, or choose names of letters, digits and underscores",
		}
	}
	script := s.shellScript()
	return launch{command: "exec env -i " + s.marks() + " sh -c '" + fmt.Sprintf(shLoader, len(script)) + "'", input: []byte(script)}, nil
}

// group makes one command of a script: a shell reads all of it before it does the first thing, so that half a script, over
// a link that broke, does nothing.
func group(script string) string { return "{\n" + script + "\n}\n" }

// shellScript becomes the command.
func (s spec) shellScript() string {
	var b strings.Builder
	fmt.Fprintf(&b, "marker=%s\nlock=%s\nfence=%d\ncwd=%s\n", quote(s.marker), quote(s.lock), s.req.Fence, quote(s.req.Cwd))
	b.WriteString(launcherScript)
	for _, v := range s.env {
		fmt.Fprintf(&b, "export %s=%s\n", v.Name, quote(v.Value))
	}
	b.WriteString("exec")
	for _, arg := range s.req.Argv {
		b.WriteString(" " + quote(arg))
	}
	b.WriteString(" 9<&-") // with the lock
	return group(b.String())
}

// encode is the spec as the parent reads it: its length, then fields that each have their length before them.
func (s spec) encode() []byte {
	var b []byte
	field := func(text string) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
		b = append(b, text...)
	}
	ms := func(d time.Duration) {
		n := d.Milliseconds()
		if d > 0 && n == 0 {
			n = 1
		}
		field(strconv.FormatInt(n, 10))
	}
	field(s.req.ExecID)
	field(s.marker)
	field(s.lock)
	field(strconv.FormatInt(s.req.Fence, 10))
	field(s.req.Cwd)
	ms(s.req.Timeout)
	ms(s.req.Grace)
	ms(s.drain)
	field(strconv.Itoa(len(s.req.Argv)))
	for _, arg := range s.req.Argv {
		field(arg)
	}
	for _, v := range s.env {
		field(v.Name + "=" + v.Value)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}
