module teller-go

go 1.24
