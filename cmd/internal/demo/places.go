package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/moby/client"

	"github.com/tenure-dev/tenure/drivers/ssh/sshtest/sshd"
	"github.com/tenure-dev/tenure/plugins/docker/dockertest/engine"
)

// place is an environment to run the same command in.
type place struct {
	name, driver string
	// config is not shown: it may hold a private key.
	config map[string]any
	// skipped says in words why it cannot be shown on this machine; "" if it can.
	skipped string
}

// setUp prepares what the environments need besides the engine: an SSH server and a Docker engine of the demo's own. What this
// machine cannot have is told in the table, and is no failure of Tenure's.
func (s *stage) setUp(ctx context.Context) error {
	ssh, err := s.sshPlace(ctx)
	if err != nil {
		return fmt.Errorf("start an SSH server: %w", err)
	}
	docker, err := s.dockerPlace(ctx)
	if err != nil {
		return fmt.Errorf("start a Docker engine: %w", err)
	}
	s.places = []place{
		{name: "local", driver: "local"},
		ssh,
		{name: "bubblewrap", driver: "sandbox", config: map[string]any{"provider": "bubblewrap"}, skipped: noBubblewrap(ctx)},
		docker,
	}
	return nil
}

// sshPlace starts an sshd on the loopback, as whoever runs the demo.
func (s *stage) sshPlace(ctx context.Context) (place, error) {
	p := place{name: "ssh", driver: "ssh"}
	if out, err := exec.CommandContext(ctx, "id", "-un").CombinedOutput(); err != nil {
		p.skipped = fmt.Sprintf("user %d has no name, and sshd lets nobody in without one; skipped here", os.Geteuid())
		return p, nil //nolint:nilerr // that is what the error says
	} else if name := strings.TrimSpace(string(out)); name != "" {
		// A cgo-free program finds a user without an entry in /etc/passwd by these only.
		if os.Getenv("USER") == "" {
			if err := os.Setenv("USER", name); err != nil {
				return p, err
			}
		}
	}
	// The home is empty, so that nobody's start-up files are run, or waited for.
	keys, workspace, home := filepath.Join(s.dir, "sshd"), filepath.Join(s.dir, "ssh-workspace"), filepath.Join(s.dir, "ssh-home")
	for _, dir := range []string{keys, workspace, home} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return p, err
		}
	}
	var err error
	if s.sshd, err = sshd.Start(ctx, sshd.Options{Dir: keys, Home: home, Lines: []string{"LogLevel INFO"}}); err != nil {
		return p, err
	}
	if p.skipped, err = s.noLogin(ctx, keys); err != nil || p.skipped != "" {
		return p, err
	}
	fmt.Fprintf(s.out, "sshd for %s on %s:%d\n", s.sshd.User, s.sshd.Host, s.sshd.Port)
	p.config = map[string]any{
		"host": s.sshd.Host, "port": s.sshd.Port, "username": s.sshd.User, "remoteWorkspacePath": workspace,
		"privateKey": s.sshd.PrivateKey, "knownHosts": s.sshd.KnownHosts(),
	}
	return p, nil
}

// noLogin is why OpenSSH's own client may not log in, as into a locked account; "" if it may.
func (s *stage) noLogin(ctx context.Context, dir string) (string, error) {
	key, known := filepath.Join(dir, "key"), filepath.Join(dir, "known_hosts")
	defer os.Remove(key) //nolint:errcheck // the directory goes as well
	err := errors.Join(os.WriteFile(key, []byte(s.sshd.PrivateKey), 0o600), os.WriteFile(known, []byte(s.sshd.KnownHosts()), 0o600))
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "ssh", "-F", "none", "-i", key, "-p", strconv.Itoa(s.sshd.Port), "-o", "BatchMode=yes",
		"-o", "IdentitiesOnly=yes", "-o", "UserKnownHostsFile="+known, "-o", "StrictHostKeyChecking=yes", s.sshd.User+"@"+s.sshd.Host, "true")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return "", nil
	}
	why := lastLine(out)
	for line := range strings.Lines(s.sshd.Log()) {
		if strings.Contains(line, "not allowed") {
			why = strings.TrimSpace(line)
		}
	}
	return fmt.Sprintf("sshd refuses the user %s (%s); skipped here", s.sshd.User, why), nil
}

// noBubblewrap is why bwrap does not work here; "" if it does.
func noBubblewrap(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true").CombinedOutput()
	if err == nil {
		return ""
	}
	if errors.Is(err, exec.ErrNotFound) {
		return "bwrap is not installed (Debian: bubblewrap); skipped here"
	}
	return fmt.Sprintf("this machine gives no namespaces (%s); skipped here", lastLine(out))
}

const noEngine = "needs root to start a Docker engine; skipped here"

// dockerPlace starts a Docker engine as root; anybody else uses one that runs already, if it has an image.
func (s *stage) dockerPlace(ctx context.Context) (place, error) {
	p := place{name: "docker", driver: "sandbox"}
	if os.Geteuid() != 0 {
		host, image := readyEngine(ctx)
		if image == "" {
			p.skipped = noEngine
			return p, nil
		}
		s.dockerHost, p.config = host, map[string]any{"provider": "docker", "image": image, "pullPolicy": "never", "network": "none"}
		fmt.Fprintf(s.out, "the Docker engine at %s has the image %s\n", host, image)
		return p, nil
	}
	var err error
	if s.docker, err = engine.Start(ctx, engine.Options{Parent: s.dir, Network: engine.NoBridge}); err != nil {
		if ctx.Err() != nil {
			return p, err
		}
		p.skipped = fmt.Sprintf("no Docker engine starts on this machine (%s); skipped here", lastLine([]byte(err.Error())))
		return p, nil
	}
	s.dockerHost = s.docker.Host
	if err := s.docker.ImportTools(ctx); err != nil {
		return p, err
	}
	fmt.Fprintf(s.out, "dockerd on %s, with an image of busybox\n", s.docker.Host)
	p.config = map[string]any{"provider": "docker", "image": engine.Tools, "pullPolicy": "never", "network": "none"}
	return p, nil
}

// readyEngine finds an engine that this user may speak to and an image in it that surely has a shell; "" if there is none.
func readyEngine(ctx context.Context) (host, image string) {
	host = orElse(os.Getenv("DOCKER_HOST"), "unix:///var/run/docker.sock")
	if !strings.HasPrefix(host, "unix://") {
		return "", "" // it would need keys as well
	}
	c, err := client.New(client.WithHost(host))
	if err != nil {
		return "", ""
	}
	defer c.Close() //nolint:errcheck // nothing was written
	for _, image := range []string{"busybox:latest", "alpine:latest", "debian:stable-slim", "debian:latest", "ubuntu:latest"} {
		if _, err := c.ImageInspect(ctx, image); err == nil {
			return host, image
		}
	}
	return "", ""
}

// takeDown ends what setUp started.
func (s *stage) takeDown() error {
	if s.sshd != nil {
		s.sshd.Stop()
		s.sshd = nil
	}
	if s.docker == nil {
		return nil
	}
	err := errors.Join(s.docker.Client.Close(), s.docker.Stop())
	s.docker = nil
	if err != nil {
		return fmt.Errorf("stop the Docker engine: %w", err)
	}
	return nil
}

// addPlaces adds the environments, as an operator would. The configuration goes by stdin, so that the private key is in no
// command line; in the environment is a reference to the secret that it becomes.
func (s *stage) addPlaces(ctx context.Context) error {
	for _, p := range s.places {
		if p.skipped != "" {
			continue
		}
		args := []string{"env", "add", p.name, "--driver", p.driver}
		var config []byte
		if p.config != nil {
			var err error
			if config, err = json.Marshal(p.config); err != nil {
				return err
			}
			args = append(args, "--config", "-")
		}
		if err := s.tenureWith(ctx, string(config), args...); err != nil {
			return err
		}
	}
	return s.tenure(ctx, "secret", "list")
}

func lastLine(text []byte) string {
	lines := bytes.Split(bytes.TrimSpace(text), []byte{'\n'})
	return string(lines[len(lines)-1])
}
