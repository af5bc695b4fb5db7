package app

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/eventstore/faults"
)

// Environment is the environment that the process was started with. It is taken out of the process image before anything
// else happens, so that no command, plugin or /proc/PID/environ of ours can show it.
type Environment map[string]string

// Get returns a variable, "" when it is not set.
func (e Environment) Get(name string) string { return e[name] }

// environFD is where the environment waits after the re-exec, and environMarker says that it does.
const (
	environFD     = 3
	environMarker = "TENURE_ENVIRONMENT_FD=3"
)

// TakeEnvironment takes the environment out of the process image: it starts the same program again in this process, with
// an empty environment, and hands the values over through a file in memory that only this process has. On the second
// pass it returns them. It also makes the process non-dumpable, so that processes of the same user cannot look into it.
func TakeEnvironment() (Environment, error) {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("make the process non-dumpable: %w", err)
	}
	if env := os.Environ(); len(env) == 1 && env[0] == environMarker {
		return receive()
	}
	return nil, handOver()
}

func receive() (Environment, error) {
	file := os.NewFile(environFD, "environment")
	defer file.Close() //nolint:errcheck // it was only read
	env := Environment{}
	if err := json.NewDecoder(file).Decode(&env); err != nil {
		return nil, fmt.Errorf("read the environment: %w", err)
	}
	os.Clearenv()
	faults.Arm(env.Get)
	// Libraries that look for these find them; nothing here is a secret.
	for _, name := range []string{"PATH", "HOME", "TZ", "LANG", "TMPDIR"} {
		if v, ok := env[name]; ok {
			if err := os.Setenv(name, v); err != nil {
				return nil, fmt.Errorf("set %s: %w", name, err)
			}
		}
	}
	return env, nil
}

// handOver does not return unless it fails.
func handOver() error {
	env := Environment{}
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	raw, err := json.Marshal(env)
	if err != nil {
		return fmt.Errorf("encode the environment: %w", err)
	}
	fd, err := unix.MemfdCreate("environment", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make a file in memory: %w", err)
	}
	file := os.NewFile(uintptr(fd), "environment")
	if _, err := file.Write(raw); err != nil {
		return fmt.Errorf("write the environment: %w", err)
	}
	if _, err := file.Seek(0, 0); err != nil {
		return fmt.Errorf("write the environment: %w", err)
	}
	if err := keepAs(fd, environFD); err != nil {
		return fmt.Errorf("hand the environment over: %w", err)
	}
	err = unix.Exec("/proc/self/exe", os.Args, []string{environMarker})
	return fmt.Errorf("start again with an empty environment: %w", err)
}

// keepAs makes fd survive an exec as number want.
func keepAs(fd, want int) error {
	if fd != want {
		return unix.Dup3(fd, want, 0)
	}
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	return err
}
