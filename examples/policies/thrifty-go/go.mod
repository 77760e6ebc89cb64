module thrifty-go

go 1.24
