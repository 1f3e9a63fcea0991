module constellation

go 1.21
