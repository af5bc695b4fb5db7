package dockertest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/moby/moby/client"
)

// busybox is Debian's static one: a whole system in a file.
const busybox = "/bin/busybox"

func (e *Engine) importImages(ctx context.Context) error {
	program, err := os.ReadFile(busybox)
	if err != nil {
		return fmt.Errorf("no busybox is installed (Debian: busybox-static): %w", err)
	}
	list, err := exec.CommandContext(ctx, busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("list the applets of busybox: %w", err)
	}
	tools := []entry{
		{name: "bin/", mode: 0o755}, {name: "etc/", mode: 0o755}, {name: "bin/busybox", mode: 0o755, data: program},
		{name: "etc/passwd", mode: 0o644, data: []byte("root:x:0:0::/root:/bin/sh\nworker:x:1234:2345::/:/bin/sh\n")},
		{name: "etc/group", mode: 0o644, data: []byte("root:x:0:\nworkers:x:2345:\nextra:x:3456:\n")},
	}
	for _, applet := range strings.Fields(string(list)) {
		if applet != "busybox" {
			tools = append(tools, entry{name: "bin/" + applet, link: "busybox"})
		}
	}
	return errors.Join(
		e.importImage(ctx, Image, tools),
		e.importImage(ctx, Bare, []entry{{name: "echo", mode: 0o755, data: program}}),
		e.importImage(ctx, Rich, slices.Concat(tools, []entry{
			{name: "workspace/", mode: 0o700}, {name: "workspace/of-the-image", mode: 0o644},
			{name: "opt/", mode: 0o755}, {name: "opt/rich/", mode: 0o755}, {name: "opt/rich/richtool", mode: 0o755, data: []byte("#!/bin/sh\necho rich\n")},
		}),
			"ENV PATH=/opt/rich:/bin", "ENV IMAGE_SETTING=from-the-image", "USER worker", "VOLUME /data", "WORKDIR /nowhere",
			`ENTRYPOINT ["/bin/false"]`, `HEALTHCHECK CMD ["/bin/false"]`),
	)
}

// entry is one file of an image: a directory if its name ends with a slash, a link if it has a target.
type entry struct {
	name, link string
	mode       int64
	data       []byte
}

func (e *Engine) importImage(ctx context.Context, name string, entries []entry, changes ...string) error {
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	for _, f := range entries {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.data))}
		switch {
		case strings.HasSuffix(f.name, "/"):
			h.Typeflag = tar.TypeDir
		case f.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(f.data); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	repo, tag, _ := strings.Cut(name, ":")
	answer, err := e.Client.ImageImport(ctx, client.ImageImportSource{Source: &b, SourceName: "-"}, repo, client.ImageImportOptions{
		Tag: tag, Changes: changes,
	})
	if err != nil {
		return fmt.Errorf("import image %s: %w", name, err)
	}
	defer answer.Close()
	said, err := io.ReadAll(answer)
	if err != nil || bytes.Contains(said, []byte(`"error"`)) {
		return fmt.Errorf("import image %s: %w: %s", name, err, said)
	}
	return nil
}
