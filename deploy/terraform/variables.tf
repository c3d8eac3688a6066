variable "name" {
  description = "Begins the names of what the module makes"
  type        = string
  default     = "lambda-dispatch"
}

variable "vpc_id" {
  description = "The function and the router live in it; the function calls the router back by its private address"
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets of the router, with a way to the Lambda API (NAT, or an endpoint for lambda)"
  type        = list(string)
}

variable "cluster_arn" {
  description = "An ECS cluster that exists; null: one is made"
  type        = string
  default     = null
}

variable "router_image" {
  description = "The router's image, by digest where you can"
  type        = string
}

variable "function_arn" {
  description = "The function that the router invokes, with a qualifier if you like; modules/function makes one"
  type        = string
}

variable "function_security_group_id" {
  description = "Security group of the function; only it reaches the router's control port"
  type        = string
}

variable "cpu" {
  description = "CPU units of a task"
  type        = number
  default     = 1024
}

variable "memory" {
  description = "MiB of a task; leave memory_budget times the workers (one a CPU) and 150 MiB"
  type        = number
  default     = 2048
}

variable "architecture" {
  description = "ARM64 or X86_64"
  type        = string
  default     = "ARM64"
  validation {
    condition     = contains(["ARM64", "X86_64"], var.architecture)
    error_message = "architecture must be ARM64 or X86_64."
  }
}

variable "min_tasks" {
  type    = number
  default = 1
}

variable "max_tasks" {
  type    = number
  default = 4
  validation {
    condition     = var.max_tasks >= 1
    error_message = "max_tasks must be 1 or more."
  }
}

variable "load_balancer" {
  description = "internal, internet-facing or none"
  type        = string
  default     = "internal"
  validation {
    condition     = contains(["internal", "internet-facing", "none"], var.load_balancer)
    error_message = "load_balancer must be internal, internet-facing or none."
  }
}

variable "load_balancer_subnet_ids" {
  description = "Subnets of the load balancer, in two zones at least"
  type        = list(string)
  default     = []
}

variable "certificate_arn" {
  description = "ACM certificate; then clients are served over HTTPS, and HTTP redirects there"
  type        = string
  default     = null
}

variable "client_cidrs" {
  description = "Who may reach the load balancer"
  type        = list(string)
  default     = ["10.0.0.0/8"]
}

variable "longest_request" {
  description = "Seconds of the longest normal request: the target group's deregistration delay"
  type        = number
  default     = 60
}

variable "stop_timeout" {
  description = "Seconds from SIGTERM to SIGKILL; at least drain_deadline and 5"
  type        = number
  default     = 60
  validation {
    condition     = var.stop_timeout >= 10 && var.stop_timeout <= 120
    error_message = "stop_timeout must be from 10 to 120 (Fargate's maximum)."
  }
}

variable "log_days" {
  type    = number
  default = 30
}

variable "alarm_topic_arn" {
  description = "SNS topic for the alarms; null: alarms without a notification"
  type        = string
  default     = null
}

variable "tags" {
  type    = map(string)
  default = {}
}
