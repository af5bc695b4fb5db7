package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/moby/moby/client"
)

// Busybox is Debian's static one: a whole system in a file.
const Busybox = "/bin/busybox"

// ImportTools makes the image [Tools].
func (e *Engine) ImportTools(ctx context.Context) error {
	files, err := ToolFiles(ctx)
	if err != nil {
		return err
	}
	return e.Import(ctx, Tools, files)
}

// ToolFiles are those of the image [Tools].
func ToolFiles(ctx context.Context) ([]File, error) {
	program, err := os.ReadFile(Busybox)
	if err != nil {
		return nil, fmt.Errorf("no busybox is installed (Debian: busybox-static): %w", err)
	}
	list, err := exec.CommandContext(ctx, Busybox, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("list the applets of busybox: %w", err)
	}
	tools := []File{
		{Name: "bin/", Mode: 0o755}, {Name: "etc/", Mode: 0o755}, {Name: "bin/busybox", Mode: 0o755, Data: program},
		{Name: "etc/passwd", Mode: 0o644, Data: []byte("root:x:0:0::/root:/bin/sh\nworker:x:1234:2345::/:/bin/sh\n")},
		{Name: "etc/group", Mode: 0o644, Data: []byte("root:x:0:\nworkers:x:2345:\nextra:x:3456:\n")},
	}
	for _, applet := range strings.Fields(string(list)) {
		if applet != "busybox" {
			tools = append(tools, File{Name: "bin/" + applet, Link: "busybox"})
		}
	}
	return tools, nil
}

// File is one file of an image: a directory if its name ends with a slash, a link if it has a target.
type File struct {
	Name, Link string
	Mode       int64
	Data       []byte
}

// Import makes an image of files. changes are lines of a Dockerfile.
func (e *Engine) Import(ctx context.Context, name string, files []File, changes ...string) error {
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Name, Mode: f.Mode, Size: int64(len(f.Data))}
		switch {
		case strings.HasSuffix(f.Name, "/"):
			h.Typeflag = tar.TypeDir
		case f.Link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.Link
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(f.Data); err != nil {
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
