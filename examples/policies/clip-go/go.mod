module clip-go

go 1.24
