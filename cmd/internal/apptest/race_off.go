//go:build !race

package apptest

// raceFlag builds the program as the test was built.
const raceFlag = "-race=false"
