//go:build !race

package faketest

const raceDetector = false
