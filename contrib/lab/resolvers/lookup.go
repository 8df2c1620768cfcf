// Looks names up with Go's own resolver. Usage as in lookup.c.
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

func main() {
	name := os.Args[1]
	if len(os.Args) == 2 {
		addresses, err := net.LookupHost(name)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		for _, address := range addresses {
			fmt.Println(address)
		}
		return
	}
	count, _ := strconv.Atoi(os.Args[2])
	failures, stalls, which, longest := 0, 0, 0, time.Duration(0)
	for number := 1; number <= count; number++ {
		began := time.Now()
		if _, err := net.LookupHost(name); err != nil {
			failures++
		}
		took := time.Since(began)
		if took > 100*time.Millisecond {
			stalls++
		}
		if took > longest {
			longest, which = took, number
		}
	}
	fmt.Printf("%d %.1f %d %d\n", failures, float64(longest.Microseconds())/1000, stalls, which)
}
