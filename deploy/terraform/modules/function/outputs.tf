output "arn" {
  value = aws_lambda_function.this.arn
}

output "security_group_id" {
  value = aws_security_group.function.id
}
