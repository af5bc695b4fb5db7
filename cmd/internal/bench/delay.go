package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"
)

// oneWay is how long each byte is on its way, in each direction: a round trip is a millisecond longer than without.
const oneWay = time.Millisecond / 2

// delay is a link to Postgres as if it were on another machine. Bytes arrive later, not slower: what is sent while others
// are on their way does not wait for them.
type delay struct {
	upstream string
	dir      string
	listener net.Listener
	mu       sync.Mutex
	conns    []net.Conn
	group    sync.WaitGroup
}

func newDelay(base, dir string) (*delay, error) {
	config, err := pgx.ParseConfig(base)
	if err != nil {
		return nil, err
	}
	_, upstream := pgNetworkAddress(config)
	d := &delay{upstream: upstream}
	if d.dir, err = os.MkdirTemp(dir, "link-"); err != nil {
		return nil, err
	}
	d.listener, err = (&net.ListenConfig{}).Listen(context.Background(), "unix", filepath.Join(d.dir, ".s.PGSQL.5432"))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(d.dir))
	}
	d.group.Go(d.serve)
	return d, nil
}

func pgNetworkAddress(c *pgx.ConnConfig) (network, address string) {
	return "unix", filepath.Join(c.Host, fmt.Sprintf(".s.PGSQL.%d", c.Port))
}

// url leads a connection string through the link; of two equal keywords the later one counts.
func (d *delay) url(url string) string { return url + " host=" + d.dir + " port=5432" }

func (d *delay) close() {
	_ = d.listener.Close()
	d.mu.Lock()
	for _, c := range d.conns {
		_ = c.Close()
	}
	d.mu.Unlock()
	d.group.Wait()
	_ = os.RemoveAll(d.dir)
}

func (d *delay) serve() {
	for {
		client, err := d.listener.Accept()
		if err != nil {
			return
		}
		server, err := (&net.Dialer{}).DialContext(context.Background(), "unix", d.upstream)
		if err != nil {
			_ = client.Close()
			continue
		}
		d.mu.Lock()
		d.conns = append(d.conns, client, server)
		d.mu.Unlock()
		d.group.Go(func() { d.carry(server, client) })
		d.group.Go(func() { d.carry(client, server) })
	}
}

// parcel is what was read at once, and when it is due.
type parcel struct {
	data []byte
	due  time.Time
}

// carry takes bytes one way until an end is closed.
func (d *delay) carry(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	parcels := make(chan parcel, 1024)
	d.group.Go(func() {
		defer from.Close()
		alarm, err := newAlarm()
		if err != nil {
			return
		}
		defer alarm.close()
		for p := range parcels {
			if err := alarm.wait(time.Until(p.due)); err != nil {
				break
			}
			if _, err := to.Write(p.data); err != nil {
				break
			}
		}
		for range parcels { // the reader must not wait for room
		}
	})
	defer close(parcels)
	for {
		buf := make([]byte, 16<<10)
		n, err := from.Read(buf)
		if n > 0 {
			parcels <- parcel{buf[:n], time.Now().Add(oneWay)}
		}
		if err != nil {
			return
		}
	}
}

// alarm waits to within some microseconds. The timers of the runtime round up to a millisecond when nothing else runs.
type alarm struct{ file *os.File }

func newAlarm() (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	return &alarm{os.NewFile(uintptr(fd), "timer")}, nil
}

func (a *alarm) wait(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	raw, err := a.file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.TimerfdSettime(int(fd), 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}, nil)
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	var expired [8]byte
	_, err = io.ReadFull(a.file, expired[:])
	return err
}

func (a *alarm) close() { _ = a.file.Close() }
