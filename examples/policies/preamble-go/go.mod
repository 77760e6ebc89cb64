module preamble-go

go 1.24
