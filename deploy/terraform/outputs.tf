output "url" {
  description = "Where clients reach the router; null without a load balancer"
  value       = local.has_load_balancer ? "${local.has_certificate ? "https" : "http"}://${aws_lb.this[0].dns_name}" : null
}

output "load_balancer_arn" {
  value = local.has_load_balancer ? aws_lb.this[0].arn : null
}

output "service_name" {
  value = aws_ecs_service.router.name
}

output "security_group_id" {
  description = "Security group of the router"
  value       = aws_security_group.router.id
}

output "task_role_arn" {
  value = aws_iam_role.task.arn
}
