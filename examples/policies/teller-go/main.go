package main

import "teller-go/witgate"

func init() { witgate.Export(Configure) }

// The gateway calls the policy, not main.
func main() {}
