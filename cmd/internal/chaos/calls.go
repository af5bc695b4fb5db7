package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"sync"

	"github.com/tenure-dev/tenure/cmd/internal/check"
)

// calls is what the clients sent and were told, in memory and as lines of JSON.
type calls struct {
	mu   sync.Mutex
	file *os.File
	out  *bufio.Writer
	all  []check.Call
	err  error
}

func newCalls(path string) (*calls, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &calls{file: file, out: bufio.NewWriter(file)}, nil
}

func (c *calls) add(k check.Call) {
	line, err := json.Marshal(k)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, k)
	if err == nil {
		_, err = c.out.Write(append(line, '\n'))
	}
	c.err = errors.Join(c.err, err)
}

// list is all of them.
func (c *calls) list() []check.Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all
}

// close ends the file, and says what went wrong with it at any time.
func (c *calls) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.err, c.out.Flush(), c.file.Close())
}
