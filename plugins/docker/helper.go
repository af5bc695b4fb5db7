package docker

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path"

	"github.com/moby/moby/client"

	"github.com/tenure-dev/tenure/plugins/docker/inner"
)

// The program of package inner is mounted from this machine where the engine sees the same file: an engine behind a socket
// usually does. One in another mount name space refuses the mount, since it makes no source of a bind by itself; then, as
// for every engine reached by TCP, the program is copied into a volume of the container. A mount pins the file: an upgrade
// that replaces it leaves containers that run as they are.

// firstTry is how a container should get the program.
func (e *engine) firstTry() how {
	if e.opts.CopyInner || !isLocal(e.cfg.Host) {
		return copied
	}
	return mounted
}

// cannotMount reports whether a create failed because the engine does not have the program's file.
func cannotMount(err error) bool {
	return says(err, "bind source path does not exist", "bind mount source path does not exist")
}

// copyInner puts the program into a container that does not run yet.
func (e *engine) copyInner(ctx context.Context, containerID string) error {
	f, err := os.Open(e.opts.Inner)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		t := tar.NewWriter(w)
		err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path.Base(inner.Path), Mode: 0o555, Size: info.Size()})
		if err == nil {
			_, err = io.Copy(t, f)
		}
		err = errors.Join(err, t.Close())
		w.CloseWithError(err) // nil is the end
		written <- err
	}()
	_, err = e.CopyToContainer(ctx, containerID, client.CopyToContainerOptions{DestinationPath: inner.Dir, Content: r})
	_ = r.Close() // ends a writer whose reader gave up
	return errors.Join(err, <-written)
}
